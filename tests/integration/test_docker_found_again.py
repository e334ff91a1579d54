"""A run outlives the process that started it, the clients of its daemon and the daemon's connection.

Another process goes on with it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox_contract import LIMITS, Outcome, follow, package_folder, wait_until
from mecapy_platform.sandbox.base import EndReason, LogChunk, ProgressLine, Seen, StopReason
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
from support.backends.docker_daemon import TestDaemon, daemon

WORKER = """
import json, sys
from pathlib import Path
from mecapy_platform.sandbox.base import Environment, Limits, SandboxSpec
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
order = json.loads(sys.argv[1])
sandbox = DockerSandbox(DockerOptions(Path(order["home"]), order["host"], platform=order["platform"]))
spec = SandboxSpec("task", 1, Path(order["package"]), Path(order["inputs"]), Limits(**order["limits"]),
                   Environment(Path(order["interpreter"])), f"cases:{order['function']}", keep=True)
run = sandbox.start(spec)
print(run.reference, flush=True)
for event in run.events(0.05):
    print(type(event).__name__, repr(getattr(event, "text", "")), flush=True)
"""


class Desk:
    """Starts runs by a worker process of its own, which can be killed, and finds them again."""

    def __init__(self, engine: TestDaemon, folder: Path, platform: str = "found") -> None:
        self.engine = engine
        self.folder = folder
        self.platform = platform
        self.sandbox = self.backend()

    def backend(self) -> DockerSandbox:
        return DockerSandbox(DockerOptions(self.folder / "runs", self.engine.address, platform=self.platform))

    def start(
        self, function: str, inputs: dict[str, Any] | None = None, **limits: Any
    ) -> tuple["subprocess.Popen[str]", str]:
        given = Path(tempfile.mkdtemp(dir=self.folder))
        given.chmod(0o755)
        (given / "data.json").write_text(json.dumps(inputs or {}))
        order = {
            "home": str(self.folder / "runs"),
            "host": self.engine.address,
            "platform": self.platform,
            "package": str(self.folder / "package"),
            "inputs": str(given),
            "limits": asdict(replace(LIMITS, **limits)),
            "interpreter": str(Path(sys.executable).resolve()),
            "function": function,
        }
        worker = subprocess.Popen([sys.executable, "-c", WORKER, json.dumps(order)], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        reference = worker.stdout.readline().strip()
        assert reference
        return worker, reference

    def started_and_left(self, function: str, inputs: dict[str, Any] | None = None, **limits: Any) -> str:
        """A run whose worker was killed while it ran."""
        worker, reference = self.start(function, inputs, **limits)
        kill(worker)
        return reference

    def finish(self, reference: str, seen: Seen | None = None) -> Outcome:
        run = self.sandbox.find(reference, seen or Seen())
        assert run is not None
        with run:
            outcome = follow(run)
        self.sandbox.remove(reference)
        return outcome


def kill(worker: "subprocess.Popen[str]") -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert worker.stdout is not None
    worker.stdout.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    with daemon() as started:
        yield started


@pytest.fixture
def desk(engine: TestDaemon) -> Iterator[Desk]:
    with package_folder() as folder:
        made = Desk(engine, folder)
        yield made
        for item in made.sandbox.kept():
            made.sandbox.remove(item.reference)
        made.sandbox.close()


def test_a_killed_worker_leaves_its_run_and_another_one_ends_it(desk: Desk) -> None:
    reference = desk.started_and_left("counts", {"count": 20, "seconds": 0.1})
    outcome = desk.finish(reference)
    assert outcome.result == {"result": 20}
    assert outcome.text("stdout") == "".join(f"line {number}\n" for number in range(20))
    assert [record["step"] for record in outcome.progress] == list(range(20))


def test_what_was_told_before_is_not_told_again(desk: Desk) -> None:
    reference = desk.started_and_left("counts", {"count": 10, "seconds": 0.05})
    outcome = desk.finish(reference, Seen(stdout_characters=len("line 0\nline 1\nli"), progress_lines=3))
    assert outcome.text("stdout") == "ne 2\n" + "".join(f"line {number}\n" for number in range(3, 10))
    assert [record["step"] for record in outcome.progress] == list(range(3, 10))


def test_a_run_that_ended_while_nobody_was_there_waits_with_its_result(desk: Desk) -> None:
    reference = desk.started_and_left("double", {"value": 4})
    wait_until(lambda: _only_first_process(desk, reference))
    assert desk.finish(reference).result == {"result": 8}


def test_its_time_is_counted_from_its_true_start_also_while_nobody_is_there(desk: Desk) -> None:
    reference = desk.started_and_left("silent", timeout_seconds=2.0, grace_seconds=0.2)
    wait_until(lambda: _only_first_process(desk, reference))
    outcome = desk.finish(reference)
    assert outcome.ended.reason is EndReason.TIMEOUT
    assert 2.0 <= outcome.ended.usage.wall_seconds < 5.0


def test_memory_that_ran_out_while_nobody_was_there_is_said(desk: Desk) -> None:
    reference = desk.started_and_left("child_takes_memory", {"megabytes": 400}, memory_mb=128)
    wait_until(lambda: _only_first_process(desk, reference), 20)
    assert desk.finish(reference).ended.reason is EndReason.OUT_OF_MEMORY


def test_a_frozen_worker_is_replaced_and_hears_nothing_more(desk: Desk) -> None:
    worker, reference = desk.start("counts", {"count": 20, "seconds": 0.1})
    worker.send_signal(signal.SIGSTOP)
    try:
        assert desk.finish(reference).result == {"result": 20}
    finally:
        worker.send_signal(signal.SIGCONT)
        kill(worker)


def test_a_stop_reaches_a_run_that_was_found_again(desk: Desk) -> None:
    reference = desk.started_and_left("waits_for_stop")
    run = desk.sandbox.find(reference)
    assert run is not None
    with run:
        outcome = follow(
            run, lambda event: run.stop(StopReason.CANCELLED) if isinstance(event, LogChunk | ProgressLine) else None
        )
    assert outcome.ended.stop is StopReason.CANCELLED


@pytest.mark.parametrize("reason", [StopReason.DRAIN, StopReason.LEASE_LOST])
def test_a_run_is_let_go_when_the_reason_is_its_workers_alone(desk: Desk, reason: StopReason) -> None:
    reference = desk.started_and_left("counts", {"count": 20, "seconds": 0.05})
    run = desk.sandbox.find(reference)
    assert run is not None
    with run:
        run.stop(reason)
        outcome = follow_to_the_end(run)
    assert outcome is EndReason.DETACHED
    assert desk.finish(reference).result == {"result": 20}


def test_killed_clients_of_the_daemon_do_not_end_a_run(desk: Desk) -> None:
    _worker, reference = (found := desk.start("counts", {"count": 20, "seconds": 0.1}))
    watcher = subprocess.Popen(
        ["docker", "--host", desk.engine.address, "attach", "--no-stdin", "--sig-proxy=false", reference],
        stdout=subprocess.DEVNULL,
    )
    kill(found[0])
    watcher.kill()
    watcher.wait()
    assert desk.finish(reference).result == {"result": 20}


def test_a_restarted_daemon_does_not_end_a_run(desk: Desk) -> None:
    reference = desk.started_and_left("counts", {"count": 40, "seconds": 0.1})
    run = desk.sandbox.find(reference)
    assert run is not None
    with run:
        os.kill(desk.engine.pid, signal.SIGKILL)
        outcome = follow(run)
    desk.engine.start()
    assert outcome.result == {"result": 40}


def test_a_container_that_is_gone_is_not_found(desk: Desk) -> None:
    reference = desk.started_and_left("silent")
    desk.sandbox.remove(reference)
    assert desk.sandbox.find(reference) is None


def test_a_container_that_died_says_that_its_machine_was_lost(desk: Desk) -> None:
    reference = desk.started_and_left("silent")
    subprocess.run(["docker", "--host", desk.engine.address, "kill", reference], check=True, capture_output=True)
    assert desk.finish(reference).ended.reason is EndReason.MACHINE


def test_containers_of_others_are_neither_listed_nor_found_nor_removed(desk: Desk) -> None:
    reference = desk.started_and_left("counts", {"count": 20, "seconds": 0.1})
    other = Desk(desk.engine, desk.folder, platform="other")
    assert other.sandbox.kept() == []
    assert other.sandbox.find(reference) is None
    other.sandbox.remove(reference)
    assert desk.finish(reference).result == {"result": 20}


def test_kept_runs_are_listed_with_their_attempt(desk: Desk) -> None:
    reference = desk.started_and_left("silent")
    (kept,) = desk.sandbox.kept()
    assert (kept.reference, kept.task_id, kept.attempt, kept.is_attempt, kept.is_overdue) == (
        reference,
        "task",
        1,
        True,
        False,
    )


def test_user_code_that_speaks_on_the_socket_is_not_believed(desk: Desk) -> None:
    """It has the uid of the first process, so its pid alone tells it apart."""
    reference = desk.started_and_left("pretends_to_be_first", {"seconds": 3.0})
    outcome = desk.finish(reference)
    assert outcome.result["tried"] > 0
    assert outcome.result["believed"] == 0


def follow_to_the_end(run: Any) -> EndReason:
    for _event in run.events(0.05):
        pass
    return EndReason(run.ended().reason)


def _only_first_process(desk: Desk, reference: str) -> bool:
    """Everything but the container's first process is dead."""
    found = subprocess.run(
        ["docker", "--host", desk.engine.address, "top", reference, "-eo", "pid"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return len(found.split()) == 2
