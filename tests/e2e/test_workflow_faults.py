"""Runs of every kind of node while what moves them on is killed, between a commit and what follows it and elsewhere.

Each run must end right, with each of its tasks recorded once; the sums that it gives are the ledger.
"""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, archive, deploy, platform
from support.workflows.published import ENDED, MANIFEST, every_kind
from support.workflows.runs import HANDLER

pytestmark = pytest.mark.slow
RUNS = 3


@pytest.fixture(scope="module")
def faults() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mecapy-faults-") as folder:
        path = Path(folder) / "probe"
        path.mkdir()
        for place in (path.parent, path):
            place.chmod(0o777)
        yield path


@pytest.fixture(scope="module")
def running(faults: Path) -> Iterator[Running]:
    with platform({"MECAPY_FAULT_PROBE": str(faults)}) as started:
        yield started


@pytest.fixture(scope="module")
def slug(running: Running) -> str:
    with running.client() as client:
        package = deploy(client, archive(MANIFEST, {"parts.py": HANDLER}), organization="demo")
        return every_kind(client, {function["name"]: function["id"] for function in package["functions"]})


@pytest.mark.parametrize("point", ["advancing", "advanced"])
def test_a_worker_that_dies_beside_an_advance_loses_nothing(
    running: Running, faults: Path, slug: str, point: str
) -> None:
    flag = faults / f"kill-{point}"
    flag.touch()
    flag.chmod(0o666)
    with running.client() as client:
        runs = [start(client, slug) for _ in range(RUNS)]
        wait_for(lambda: not flag.exists(), "a worker was killed", 60)
        check(client, runs)


@pytest.mark.parametrize("part", ["relay", "api"])
def test_a_part_that_dies_during_runs_loses_nothing(running: Running, slug: str, part: str) -> None:
    with running.client() as client:
        runs = [start(client, slug) for _ in range(RUNS)]
        for name, pids in running.parts.items():
            for pid in pids if name.startswith(part) else ():
                os.kill(pid, signal.SIGKILL)
        check(client, runs)


def start(client: httpx2.Client, slug: str) -> str:
    answer = client.post(f"/workflows/{slug}/runs", json={"inputs": {"n": 4}})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def check(client: httpx2.Client, run_ids: list[str]) -> None:
    for run_id in run_ids:
        run = wait_for(partial(ended, client, run_id), "the run has ended", 120)
        assert (run["status"], run["terminal_outputs"]) == ("completed", {"last": {"sum": 27.0}}), run
        items = client.get(f"/runs/{run_id}/nodes/each/items").json()["items"]
        assert [item["state"] for item in items] == ["completed"] * 4
        assert [item["tries"] for item in items] == [1] * 4


def ended(client: httpx2.Client, run_id: str) -> dict[str, Any] | None:
    """None too while the API is away."""
    with suppress(httpx2.HTTPError):
        answer = client.get(f"/workflow-runs/{run_id}")
        if answer.status_code == 200 and answer.json()["status"] in ENDED:
            run: dict[str, Any] = answer.json()
            return run
    return None
