"""Runs that a real worker process moves on, with the relay's duty beside it; nobody else advances anything."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from mecapy_platform.core.lanes import Lane
from mecapy_platform.services.runs.due import DueRuns, advance_one
from mecapy_platform.worker.process import WorkerProcess
from support.fakes import FakeSandbox
from support.platform.embedded_process import wait_for
from support.platform.worker_bench import ARCHIVE, WorkerBench, worker_bench
from support.workflows.runs import HANDLER, Bench, bench, everything, given

LANES = (Lane.DEFAULT,)


@dataclass
class Working:
    runs: Bench
    workers: WorkerBench

    def wait_for_end(self, run_id: UUID, process: WorkerProcess) -> str:
        """Poked as by hints; what was made is seen to by the worker itself."""

        def has_ended() -> bool:
            process.poke()
            return self.runs.run(run_id).completed_at is not None

        wait_for(has_ended, "the run has ended", 60)
        return self.runs.run(run_id).state


@pytest.fixture(scope="module")
def working() -> Iterator[Working]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mecapy-runs-")))
        runs = stack.enter_context(bench(folder))
        workers = stack.enter_context(worker_bench(runs.server, runs.worker, folder))
        (folder / "cache" / "packages" / ARCHIVE / "handler.py").write_text(HANDLER, "utf-8")
        yield Working(runs, workers)


def test_a_worker_moves_a_run_of_every_kind_on_to_its_end(working: Working) -> None:
    runs = working.runs
    with working.workers.working(FakeSandbox(), lanes=LANES) as process:
        run_id = runs.submit(everything(runs), {"n": 4})
        assert working.wait_for_end(run_id, process) == "completed"
    assert set(runs.states(run_id).values()) == {"completed"}
    last = runs.tasks(run_id, "completed")["last"]
    assert last.inputs == {"a": 26.0, "b": 1.0}
    assert runs.marks(run_id) == 0


def test_a_failure_in_a_sandbox_ends_its_run(working: Working) -> None:
    runs = working.runs
    with working.workers.working(FakeSandbox(), lanes=LANES) as process:
        run_id = runs.submit(everything(runs), {"n": -1})
        assert working.wait_for_end(run_id, process) == "failed"
    run = runs.run(run_id)
    assert run.first_failed_node_key == "split"
    assert run.error_message is not None
    assert "less than nothing" in run.error_message


def test_eight_at_once_advance_a_run_as_one_does(working: Working) -> None:
    """As `tick` on the published platform, from many pages at a time."""
    runs = working.runs
    run_id = runs.submit(everything(runs), {"n": 4})
    runs.end(runs.tasks(run_id)["split"], {"parts": [0.0, 1.0, 2.0, 3.0]}, advances=False)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: advance_one(runs.worker, run_id, runs.tools), range(32)))
    assert [call.state for call in runs.calls(run_id, "each")] == ["running"] * 3 + ["waiting"]
    assert len(runs.tasks(run_id)) == 3


def test_what_a_dead_worker_left_is_moved_on_by_the_relay(working: Working) -> None:
    runs = working.runs
    version = runs.version([given("x"), runs.function("f"), runs.function("g")],
                           ["x.value > f.a", "x.value > f.b", "f.sum > g.a", "x.value > g.b"])  # fmt: skip
    run_ids = [runs.submit(version, {"x": 1.0}) for _ in range(3)]
    for run_id in run_ids:
        runs.end(runs.tasks(run_id)["f"], {"sum": 2.0}, advances=False)
    hinted: list[Lane] = []
    due = DueRuns(runs.worker, runs.tools, hinted.extend)
    wait_for(lambda: due.advance_lost() or hinted, "the marks are old enough", 10)
    wait_for(lambda: due.advance_lost() == 0, "nothing is due", 10)
    assert [runs.states(run_id) for run_id in run_ids] == [{"f": "completed", "g": "running"}] * 3
    assert hinted
