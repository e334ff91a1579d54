"""Every deck of Debian's calculix-ccx-test through the deployed package, value by value as plain `ccx`."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mecapy_platform.client.archive import write_zip
from support.calculix_values import (
    DECKS,
    Comparison,
    Deck,
    PlainResult,
    companions_zip,
    compare_dat,
    compare_frd,
    decks,
    excluded,
)
from support.kept_answers import plain_answer
from support.platform.running_platform import deploy, platform

PACKAGE = Path(__file__).parents[2] / "examples" / "calculix"
PLAIN_AT_ONCE = 2
LEFT_OUT = 8
ENDED = {"completed", "failed", "timeout", "out_of_memory", "cancelled", "lost"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Verdict:
    """What plain ccx and the platform made of one deck. `comparisons` is empty unless both completed."""

    deck: str
    plain_completes: bool
    plain_errors: tuple[str, ...]
    plain_exit_code: int | None
    plain_log: str
    state: str
    message: str
    comparisons: tuple[Comparison, ...] = ()

    @property
    def values(self) -> int:
        return sum(comparison.values for comparison in self.comparisons)

    @property
    def is_same(self) -> bool:
        return (
            self.state == "completed"
            and len(self.comparisons) == 2
            and all(comparison.equal for comparison in self.comparisons)
        )

    @property
    def failed_with_cause(self) -> bool:
        """The first *ERROR that ccx printed is in the message.

        Where it printed none, its exit code and a line of what it printed are.
        """
        if self.state != "failed":
            return False
        if self.plain_errors:
            return self.plain_errors[0] in self.message
        printed = (line.strip() for line in self.plain_log.splitlines())
        return f"exit code {self.plain_exit_code}" in self.message and any(
            line in self.message for line in printed if len(line) > 10
        )


class Suite:
    """The package on one platform; decks are sent all at once, and judged while the platform works on the next ones."""

    def __init__(self, client: httpx2.Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        write_zip(PACKAGE, folder / "calculix.zip")
        self._package_id = deploy(client, (folder / "calculix.zip").read_bytes(), organization="demo")["id"]

    def judge(self, wanted: list[Deck]) -> list[Verdict]:
        plain = {deck.name: self._plain(deck) for deck in wanted if deck.has_companion}
        tasks = self._submit(wanted)
        with ThreadPoolExecutor(PLAIN_AT_ONCE) as threads:
            return list(threads.map(lambda deck: self._verdict(deck, plain.get(deck.name), tasks[deck.name]), wanted))

    def _submit(self, wanted: list[Deck]) -> dict[str, str]:
        answer = self._client.post("/tasks/bulk", json={"tasks": [self._request(deck) for deck in wanted]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["refused"] == 0, answer.text
        return {deck.name: item["task"]["id"] for deck, item in zip(wanted, answer.json()["results"], strict=True)}

    def _request(self, deck: Deck) -> dict[str, Any]:
        files = {"deck": self._upload("deck", f"{deck.name}.inp", deck.text())}
        companions = companions_zip(deck, self._workdir(deck))
        if companions is not None:
            files["companions"] = self._upload("companions", companions.name, companions.read_bytes())
        inputs = {"job": deck.name} if deck.has_companion else {}
        return {"package": "calculix", "function": "solve", "name": deck.name, "inputs": inputs, "files": files}

    def _upload(self, port: str, name: str, content: bytes) -> str:
        path = f"/packages/{self._package_id}/functions/solve/uploads"
        answer = self._client.post(path, data={"var_name": port}, files={"file": (name, content)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["upload_id"])

    def _plain(self, deck: Deck) -> PlainResult:
        return plain_answer(deck, self._workdir(deck))

    def _workdir(self, deck: Deck) -> Path:
        return self._folder / deck.name

    def _verdict(self, deck: Deck, known: PlainResult | None, task_id: str) -> Verdict:
        plain = known or self._plain(deck)
        shutil.rmtree(self._workdir(deck))
        task = self._ended(task_id)
        message = task["error"]["message"] if task["error"] else ""
        comparisons = self._compare(plain, task_id) if plain.completes and task["state"] == "completed" else ()
        log = "" if plain.completes else plain.log
        return Verdict(
            deck.name, plain.completes, tuple(plain.errors), plain.exit_code, log, task["state"], message, comparisons
        )

    def _ended(self, task_id: str) -> dict[str, Any]:
        while True:
            task: dict[str, Any] = self._client.get(f"/tasks/{task_id}", params={"wait": 60}).json()
            if task["state"] in ENDED:
                return task

    def _compare(self, plain: PlainResult, task_id: str) -> tuple[Comparison, ...]:
        result = self._client.get(f"/tasks/{task_id}/result").json()
        found = {artifact["name"]: artifact["url"] for artifact in result["artifacts"] if artifact["kind"] == "file"}
        assert plain.dat is not None
        assert plain.frd is not None
        return compare_dat(self._download(found["dat"]), plain.dat), compare_frd(
            self._download(found["frd"]), plain.frd
        )

    def _download(self, url: str) -> bytes:
        answer = httpx2.get(url, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.content


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Verdict]]:
    missing = [
        what
        for what, is_there in (("ccx", shutil.which("ccx")), ("its decks", any(DECKS.glob("*.inp"))))
        if not is_there
    ]
    if missing:
        reason = f"{' and '.join(missing)} not installed (deploy/ci/install-debian.sh)"
        assert not os.environ.get("MECAPY_REQUIRE_SERVICES"), reason
        pytest.skip(reason)
    left_out = excluded()
    with platform() as running, running.client() as client:
        yield Suite(client, tmp_path_factory.mktemp("decks")).judge(
            [deck for deck in decks() if deck.name not in left_out]
        )


def test_every_deck_that_ccx_completes_gives_the_same_values(
    verdicts: list[Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    completed = [verdict for verdict in verdicts if verdict.plain_completes]
    same = [item for item in completed if item.is_same]
    with capsys.disabled():
        values = sum(item.values for item in completed)
        failed = sum(1 for verdict in verdicts if not verdict.plain_completes and verdict.failed_with_cause)
        compared = f"{len(completed)} compared, {len(same)} equal, {values} values"
        print(f"\n{len(verdicts)} decks: {compared}; {failed} fail as with plain ccx")  # noqa: T201 - the figures
    assert len(verdicts) == len(decks()) - LEFT_OUT
    assert {item.deck: told(item) for item in completed if not item.is_same} == {}
    assert completed
    assert sum(item.values for item in completed) > 1_000_000


def test_every_deck_that_ccx_refuses_fails_with_its_cause(verdicts: list[Verdict]) -> None:
    refused = [verdict for verdict in verdicts if not verdict.plain_completes]
    assert refused
    assert {item.deck: told(item) for item in refused if not item.failed_with_cause} == {}


def told(verdict: Verdict) -> str:
    differences = [difference for comparison in verdict.comparisons for difference in comparison.differences]
    return f"{verdict.state} {verdict.message} {differences[:3]} {verdict.plain_errors[:2]}".strip()
