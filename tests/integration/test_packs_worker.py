"""A worker runs tasks that carry calls: each call has its own end, and what was recorded is not run again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from mecapy_platform.core.ids import new_id
from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Function, StoredValue
from mecapy_platform.db.workflow_tables import Call
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.services.tasks.packs import cancel_calls, insert_pack
from mecapy_platform.storage.filesystem import FilesystemStorage
from support.backends.warm_alone import warm_alone
from support.fakes import FakeSandbox
from support.platform.embedded_process import wait_for
from support.platform.worker_bench import ARCHIVE, WorkerBench, worker_bench

CODE = """
import os
import threading


def size(diameter):
    with open(os.environ.get("RAN", "/dev/null"), "a") as file:
        file.write(f"{diameter}\\n")
    print("call", diameter, flush=True)
    if diameter == 13:
        raise ValueError("thirteen is no diameter")
    if diameter == 99:
        threading.Event().wait(60)
    if diameter == 77:
        bytearray(os.urandom(1)) * (600 << 20)
    return {"stress": diameter + 1}
"""


class Packs:
    """Calls of the bench's function, carried together."""

    def __init__(self, bench: WorkerBench) -> None:
        self.bench, self.study_id, self.made = bench, uuid4(), 0
        bench.organization()
        package = bench._ready_package()
        self.function_id, self.version_id = package.functions["size"], package.version_id
        (bench.folder / "cache" / "packages" / ARCHIVE / "handler.py").write_text(CODE, "utf-8")

    def pack(
        self, inputs: Sequence[Mapping[str, Any]], bindings: Mapping[int, Mapping[str, Any]] | None = None
    ) -> list[UUID]:
        ids = [new_id() for _ in inputs]
        with self.bench.database.transaction() as session:
            function = session.get_one(Function, self.function_id)
            function.inputs = {"diameter": {"type": "Float", "description": None, "required": True}}
            function.outputs = {"stress": {"type": "Float", "description": None, "required": True}}
            session.add_all(
                Call(
                    id=call_id,
                    organization_id=self.bench.organization_id,
                    study_id=self.study_id,
                    index=self.made + index,
                    function_id=self.function_id,
                    inputs=dict(given),
                    bindings=(bindings or {}).get(index),
                )
                for index, (call_id, given) in enumerate(zip(ids, inputs, strict=True))
            )
            session.flush()
            insert_pack(session, self.columns(), ids)
        self.made += len(ids)
        return ids

    def columns(self) -> dict[str, Any]:
        return {
            "organization_id": self.bench.organization_id,
            "user_id": uuid4(),
            "function_id": self.function_id,
            "package_version_id": self.version_id,
            "name": "points",
            "lane": Lane.DEFAULT,
            "priority": 5,
            "hold_reason": None,
            "inputs_digest": "d",
            "cpu": 1,
            "memory_mb": 128,
            "needs": [],
            "timeout_seconds": 30.0,
            "retries": {},
            "package_digest": None,
            "environment_digest": None,
            "interpreter": None,
            "retry_of": None,
            "study_id": self.study_id,
        }

    def rows(self) -> list[Call]:
        with self.bench.database.transaction() as session:
            return list(session.scalars(select(Call).where(Call.study_id == self.study_id).order_by(Call.index)))

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]


@pytest.fixture(scope="module")
def real() -> Iterator[BubblewrapSandbox]:
    with warm_alone("native") as made:
        yield made.inner


@pytest.fixture
def packs(server: Postgres, database: Database, tmp_path: Path) -> Iterator[Packs]:
    with database.transaction() as session:
        session.execute(text("DELETE FROM calls"))
    with worker_bench(server, database, tmp_path) as bench:
        yield Packs(bench)


def test_each_call_of_a_pack_has_its_own_end(packs: Packs) -> None:
    packs.pack([{"diameter": value} for value in (1, 13, 3)])
    with packs.bench.working(FakeSandbox()) as process:
        packs.bench.wait_for_all(1, process)
    rows = packs.rows()
    assert [row.state for row in rows] == ["completed", "failed", "completed"]
    assert [row.result for row in rows] == [{"stress": 2}, None, {"stress": 4}]
    assert (rows[1].error_code, rows[1].error_message) == ("user_error", "ValueError: thirteen is no diameter")
    assert [row.log.splitlines()[0] for row in rows if row.log] == ["call 1", "call 13", "call 3"]
    assert all(row.wall_seconds and row.cpu_seconds is not None and row.peak_memory_mb for row in rows)
    (task,) = packs.bench.tasks()
    assert task.runtime_seconds == pytest.approx(sum(row.wall_seconds or 0 for row in rows))


def test_a_result_that_is_too_large_for_its_row_lies_in_storage(packs: Packs) -> None:
    packs.pack([{"diameter": value} for value in (1, 2)])
    with packs.bench.working(FakeSandbox(), row_value_bytes=1) as process:
        packs.bench.wait_for_all(1, process)
    rows = packs.rows()
    assert [(row.state, row.result) for row in rows] == [("completed", None)] * 2
    with packs.bench.database.transaction() as session:
        keys = [session.get_one(StoredValue, row.result_ref).key for row in rows]
    storage = FilesystemStorage(packs.bench.folder / "storage", base_url="", secret="x")
    found = []
    for key in keys:
        with storage.open(key) as source:
            found.append(json.load(source))
    assert found == [{"stress": 2}, {"stress": 3}]


def test_calls_of_a_chain_hand_on_what_they_gave(packs: Packs) -> None:
    bound = {"diameter": {"position": 0, "port": "stress"}}
    packs.pack([{"diameter": 4}, {}, {}], {1: bound, 2: {"diameter": {"position": 1, "port": "stress"}}})
    with packs.bench.working(FakeSandbox()) as process:
        packs.bench.wait_for_all(1, process)
    assert [row.result for row in packs.rows()] == [{"stress": 5}, {"stress": 6}, {"stress": 7}]


def test_a_call_that_fails_ends_its_chain_and_those_behind_it_wait(packs: Packs) -> None:
    link = {"diameter": {"position": 0, "port": "stress"}}
    packs.pack([{"diameter": 12}, {}, {}], {1: link, 2: {"diameter": {"position": 1, "port": "stress"}}})
    with packs.bench.working(FakeSandbox()) as process:
        packs.bench.wait_for_all(1, process)
    rows = packs.rows()
    assert [row.state for row in rows] == ["completed", "failed", "waiting"]
    assert (rows[2].task_id, rows[2].tries) == (None, 1)


def test_a_value_is_checked_at_the_border_of_each_call(packs: Packs) -> None:
    packs.pack([{"diameter": 4}, {"other": 1}], {1: {"diameter": {"position": 0, "port": "stress"}}})
    with packs.bench.working(FakeSandbox()) as process:
        packs.bench.wait_for_all(1, process)
    rows = packs.rows()
    assert [row.state for row in rows] == ["completed", "failed"]
    assert rows[1].error_code == "inputs_invalid"


def test_cancelling_a_call_stops_it_and_no_other(packs: Packs) -> None:
    ids = packs.pack([{"diameter": value} for value in (1, 99, 3, 4)])
    with packs.bench.working(FakeSandbox()) as process:
        wait_for(lambda: packs.states()[0] == "completed" or _begun(packs), "the second call runs", 30)
        with packs.bench.database.transaction() as session:
            cancel_calls(session, [ids[1], ids[3]])
        packs.bench.wait_for_all(1, process)
    rows = packs.rows()
    assert [row.state for row in rows] == ["completed", "cancelled", "completed", "cancelled"]


def _begun(packs: Packs) -> bool:
    return any(attempt.ended_at is None for attempt in packs.bench.attempts())


def test_what_was_recorded_is_not_run_again_after_its_worker_has_gone(packs: Packs) -> None:
    packs.pack([{"diameter": value} for value in (1, 2, 99, 4)])
    first = FakeSandbox()
    with packs.bench.working(first):
        wait_for(lambda: packs.states()[:2] == ["completed"] * 2, "two calls are recorded while the third runs", 30)
    assert packs.states() == ["completed", "completed", "running", "running"], "drained: they stay with their task"
    with packs.bench.database.transaction() as session:
        session.execute(text("UPDATE calls SET inputs = '{\"diameter\": 5}' WHERE index = 2"))
        session.execute(text("UPDATE tasks SET claimable = true, hold_reason = NULL WHERE state = 'queued'"))
    second = FakeSandbox()
    with packs.bench.working(second) as process:
        packs.bench.wait_for_all(1, process)
    assert [row.result for row in packs.rows()] == [{"stress": 2}, {"stress": 3}, {"stress": 6}, {"stress": 5}]
    assert [json.loads(spec.inputs_text or "{}") for spec in second.started] == [{"diameter": 5}, {"diameter": 4}]


def test_a_pack_shares_a_worker_and_a_call_that_fails_or_grows_takes_no_other_with_it(
    packs: Packs, real: BubblewrapSandbox
) -> None:
    values = [*range(20), 13, *range(20, 40), 77, *range(40, 60)]
    values[13] = 0
    packs.pack([{"diameter": value} for value in values])
    with packs.bench.working(real) as process:
        packs.bench.wait_for_all(1, process)
    rows = packs.rows()
    ends = {20: ("failed", "user_error"), 41: ("failed", "out_of_memory")}
    assert [(row.state, row.error_code) for row in rows] == [
        ends.get(index, ("completed", None)) for index in range(len(values))
    ]
    completed = [index for index in range(len(values)) if index not in ends]
    assert [rows[index].result for index in completed] == [{"stress": values[index] + 1} for index in completed]
    assert [rows[index].log for index in completed] == [f"call {values[index]}\n" for index in completed]
    assert rows[20].error_message == "ValueError: thirteen is no diameter"


def test_a_chain_runs_in_one_worker(packs: Packs, real: BubblewrapSandbox) -> None:
    bindings = {place: {"diameter": {"position": place - 1, "port": "stress"}} for place in (1, 2, 3)}
    packs.pack([{"diameter": 1}, {}, {}, {}], bindings)
    with packs.bench.working(real) as process:
        packs.bench.wait_for_all(1, process)
    assert [row.result for row in packs.rows()] == [{"stress": value} for value in (2, 3, 4, 5)]


def test_a_call_of_a_shared_worker_is_cancelled_alone(packs: Packs, real: BubblewrapSandbox) -> None:
    ids = packs.pack([{"diameter": value} for value in (1, 99, 3)])
    with packs.bench.working(real) as process:
        wait_for(lambda: packs.states()[0] == "completed", "the first call is recorded while the second runs", 30)
        with packs.bench.database.transaction() as session:
            cancel_calls(session, [ids[1]])
        packs.bench.wait_for_all(1, process)
    assert packs.states() == ["completed", "cancelled", "completed"]


def test_a_worker_that_goes_leaves_to_the_next_what_it_had_not_recorded(packs: Packs, real: BubblewrapSandbox) -> None:
    packs.pack([{"diameter": value} for value in (1, 2, 99, 4)])
    with packs.bench.working(real):
        wait_for(lambda: packs.states()[:2] == ["completed"] * 2, "two calls are recorded while the third runs", 30)
    assert packs.states() == ["completed", "completed", "running", "running"]
    with packs.bench.database.transaction() as session:
        session.execute(text("UPDATE calls SET inputs = '{\"diameter\": 5}' WHERE index = 2"))
        session.execute(text("UPDATE tasks SET claimable = true, hold_reason = NULL WHERE state = 'queued'"))
    with packs.bench.working(real) as process:
        packs.bench.wait_for_all(1, process)
    assert [row.result for row in packs.rows()] == [{"stress": 2}, {"stress": 3}, {"stress": 6}, {"stress": 5}]


def test_cancelling_the_task_stops_its_call_and_lets_the_others_wait(packs: Packs, real: BubblewrapSandbox) -> None:
    packs.pack([{"diameter": value} for value in (1, 99, 3)])
    with packs.bench.working(real) as process:
        wait_for(lambda: packs.states()[0] == "completed", "the first call is recorded while the second runs", 30)
        with packs.bench.database.transaction() as session:
            session.execute(text("UPDATE tasks SET cancel_requested_at = now()"))
        packs.bench.wait_for_all(1, process, state="cancelled")
    rows = packs.rows()
    assert [(row.state, row.task_id is None) for row in rows] == [
        ("completed", False),
        ("waiting", True),
        ("waiting", True),
    ]


def test_packs_leave_a_slot_of_the_lane_to_tasks_that_somebody_waits_for(packs: Packs) -> None:
    for _ in range(4):
        packs.pack([{"diameter": 99}])
    with packs.bench.working(FakeSandbox(), drain_seconds=0.0) as process:
        wait_for(lambda: packs.bench.states().get("running") == 3, "three of four slots run packs", 30)
        packs.bench.submit(1, 0.0, lane=Lane.DEFAULT)
        packs.bench.wait_for_all(1, process)
        assert packs.bench.states() == {"running": 3, "queued": 1, "completed": 1}
