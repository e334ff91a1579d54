"""A part of the node that is away is no attempt of a task: nothing is counted, parked or claimed on account of it."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.session import Database
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.worker.process import WorkerProcess
from support.fakes import FakeSandbox, Misbehaviour
from support.platform.embedded_process import wait_for
from support.platform.worker_bench import WorkerBench, worker_bench


@pytest.fixture
def bench(server: Postgres, database: Database) -> Iterator[WorkerBench]:
    with (
        tempfile.TemporaryDirectory(prefix="mecapy-outages-") as folder,
        worker_bench(server, database, Path(folder)) as made,
    ):
        yield made


@pytest.fixture
def spawner() -> Iterator["Respawned"]:
    with tempfile.TemporaryDirectory(prefix="mecapy-spawner-") as folder:
        made = Respawned(Path(folder, "socket"))
        made.start()
        yield made
        made.kill()


class Respawned:
    """A spawner at one address, killed and started again at will."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self._spawner: LocalSpawner | None = None

    def start(self) -> None:
        self._spawner = LocalSpawner.start()
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(self._spawner.address)

    def kill(self) -> None:
        if self._spawner is not None:
            with suppress(ProcessLookupError):
                os.kill(self._spawner.process.pid, signal.SIGKILL)
            self._spawner.process.wait(10)
            self._spawner.stop()
            self._spawner = None


def tried(bench: WorkerBench, worker: WorkerProcess) -> bool:
    """Also where what ran has ended just before: something new is tried."""
    bench.release()
    worker.poke()
    return True


def test_what_never_began_is_given_back_and_the_lane_goes_on_by_itself(bench: WorkerBench) -> None:
    sandbox = FakeSandbox()
    with bench.working(sandbox) as worker:
        wait_for(lambda: worker.refusal() is None, "the worker takes work")
        sandbox.misbehave = Misbehaviour.AWAY
        bench.submit(12)
        worker.poke()
        wait_for(lambda: worker.refusal() is not None, "the outage is noticed")
        wait_for(lambda: bench.states() == {"queued": 12}, "what was claimed is given back")
        tried = len(bench.attempts())
        assert 1 <= tried <= 4, "after the first failure nothing more is claimed"
        bench.release()
        worker.poke()
        assert "away" in str(worker.refusal())
        assert len(bench.attempts()) == tried
        sandbox.misbehave = None
        bench.wait_for_all(12, worker)
    assert [(task.machine_failures, task.own_failures, task.parked) for task in bench.tasks()] == [(0, 0, False)] * 12


def test_a_backend_that_never_held_takes_nothing_until_it_holds(bench: WorkerBench) -> None:
    sandbox = FakeSandbox(Misbehaviour.UNSAFE)
    bench.submit(3)
    with bench.working(sandbox) as worker:
        wait_for(lambda: "does not hold" in str(worker.refusal()), "the refusal is said")
        assert bench.attempts() == []
        sandbox.misbehave = None
        bench.wait_for_all(3, worker)
    assert len(bench.attempts()) == 3


def test_one_lane_without_its_backend_leaves_the_others_at_work(bench: WorkerBench) -> None:
    broken = FakeSandbox(Misbehaviour.UNSAFE)
    bench.submit(2, lane=Lane.LONG_RUNNING)
    bench.submit(2)
    with bench.working(
        FakeSandbox(), lanes=[Lane.DEFAULT, Lane.LONG_RUNNING], lane_sandboxes={"long_running": broken}
    ) as worker:
        bench.wait_for_all(2, worker)
        assert bench.states() == {"completed": 2, "queued": 2}
        broken.misbehave = None
        bench.wait_for_all(4, worker)


def test_a_spawner_that_is_killed_costs_what_was_running_one_attempt_and_the_rest_nothing(
    bench: WorkerBench, spawner: Respawned
) -> None:
    """Twice, with two attempts allowed: what an outage ended is never parked for it."""
    sandbox = BubblewrapSandbox(spawner.address)
    with bench.working(sandbox, max_attempts=2) as worker:
        bench.submit(8, 3.0)
        for _ in range(3):
            wait_for(lambda: worker.refusal() is None, "the worker takes work")
            bench.release()
            worker.poke()
            wait_for(lambda: len(worker.live.begun()) == 4, "every slot runs something")
            spawner.kill()
            wait_for(lambda: tried(bench, worker) and worker.refusal() is not None, "the outage is noticed")
            wait_for(lambda: worker.live.all() == [], "what ran has been given back")
            spawner.start()
        bench.wait_for_all(8, worker)
    sandbox.close()
    assert not any(task.parked for task in bench.tasks())
    ended = [attempt.error_code for attempt in bench.attempts() if attempt.state != "completed"]
    assert ended.count("sandbox_lost") <= 12
    assert set(ended) <= {"sandbox_lost", "spawner_unreachable", "spawner_lost", "sandbox_not_started"}
