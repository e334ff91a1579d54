"""Tasks that carry calls: taken from those that wait, ended with their task or before, each recorded exactly once."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mecapy_platform.core.ids import new_id
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import FailureKind, TaskState, Usage
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db.errors import RowConflictError
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import StoredValue, Task
from mecapy_platform.db.workflow_tables import Call, DueMark
from mecapy_platform.services.claims import Claim, Worker, claim
from mecapy_platform.services.fast_finish import is_common
from mecapy_platform.services.finish import Outcome, finish
from mecapy_platform.services.tasks.call_ends import CallEnd, record_calls
from mecapy_platform.services.tasks.ending import Ending, end
from mecapy_platform.services.tasks.packs import Pack, cancel_calls, insert_pack, insert_packs
from mecapy_platform.settings import Settings
from mecapy_platform.storage.base import Stored
from support import factories

RULES = Settings().queue_rules
USED = Usage(0.25, 0.125, 40.0)
NODE = "packs"
AT_ONCE = text("UPDATE tasks SET claimable = true, hold_reason = NULL WHERE id = :id")


class Study:
    """An organization with a study of some points, and a node that takes its packs."""

    def __init__(self, database: Database, points: int) -> None:
        self.database = database
        with database.transaction() as session:
            self.organization_id = factories.organization_of(session)
            self.package = factories.package_of(session, self.organization_id)
            factories.see_node(session, NODE, tools=["calls"])
            self.id, self.user_id = uuid4(), uuid4()
            self.calls = self.points(session, points)

    def points(self, session: Session, count: int) -> list[UUID]:
        made = [new_id() for _ in range(count)]
        function_id = self.package.functions["size"]
        session.add_all(
            Call(
                id=call_id,
                organization_id=self.organization_id,
                study_id=self.id,
                index=index,
                function_id=function_id,
                inputs={"diameter": index},
            )
            for index, call_id in enumerate(made)
        )
        session.flush()
        return made

    def columns(self, **changes: Any) -> dict[str, Any]:
        usual = {
            "organization_id": self.organization_id,
            "user_id": self.user_id,
            "function_id": self.package.functions["size"],
            "package_version_id": self.package.version_id,
            "name": "points",
            "lane": Lane.HIGH_PRIORITY,
            "priority": 5,
            "rank": 0,
            "hold_reason": None,
            "inputs": {},
            "inputs_ref": None,
            "files": {},
            "inputs_digest": "d",
            "cpu": 1,
            "memory_mb": 512,
            "needs": [],
            "timeout_seconds": 5.0,
            "retries": {},
            "package_digest": None,
            "environment_digest": None,
            "interpreter": None,
            "retry_of": None,
            "study_id": self.id,
        }
        return {**usual, **changes}

    def pack(self, calls: Sequence[UUID] | None = None) -> UUID:
        with self.database.transaction() as session:
            return insert_pack(session, self.columns(), self.calls if calls is None else calls)

    def take(self) -> Claim:
        with self.database.transaction() as session:
            found = claim(session, Worker(NODE, "p", "fake", frozenset({"calls"})), Lane.DEFAULT, 4, RULES, packs=4)
        (taken,) = [item for item in found if item.organization_id == self.organization_id]
        return taken

    def states(self) -> list[str]:
        with self.database.transaction() as session:
            return list(session.scalars(select(Call.state).where(Call.study_id == self.id).order_by(Call.index)))

    def marks(self) -> list[tuple[int, int, int, int]]:
        """Completed, failed, cancelled, returned: of all marks together, in their order."""
        with self.database.transaction() as session:
            found = session.scalars(select(DueMark).where(DueMark.study_id == self.id).order_by(DueMark.id)).all()
            return [(mark.completed, mark.failed, mark.cancelled, mark.returned) for mark in found]


def completed(call_id: UUID, value: object = 1) -> CallEnd:
    return CallEnd(call_id, CallState.COMPLETED, USED, result={"stress": value})


def lies_elsewhere(call_id: UUID, key: str) -> CallEnd:
    return CallEnd(call_id, CallState.COMPLETED, USED, stored_result=Stored(key, 300_000, "0" * 64))


def failed(call_id: UUID) -> CallEnd:
    return CallEnd(call_id, CallState.FAILED, USED, error_code="user_error", error_message="No.\x00", log="line\n")


def test_a_task_takes_the_calls_that_wait_in_the_order_given(database: Database) -> None:
    study = Study(database, 5)
    task_id = study.pack(study.calls[3:0:-1])
    assert study.states() == ["waiting", "running", "running", "running", "waiting"]
    taken = study.take()
    assert taken.task_id == task_id
    assert [call["id"] for call in taken.calls or ()] == [str(call_id) for call_id in study.calls[3:0:-1]]
    assert [call["position"] for call in taken.calls or ()] == [0, 1, 2]
    assert [call["inputs"] for call in taken.calls or ()] == [{"diameter": 3}, {"diameter": 2}, {"diameter": 1}]
    with database.transaction() as session:
        task = session.get_one(Task, task_id)
        assert (task.calls_count, task.lane, task.needs) == (3, "default", ["calls"])


def test_a_call_is_carried_by_one_task_or_nothing_is_inserted(database: Database) -> None:
    study = Study(database, 3)
    study.pack(study.calls[:1])
    with pytest.raises(RowConflictError):
        study.pack()
    assert study.states() == ["running", "waiting", "waiting"]
    with database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM tasks WHERE study_id = :id"), {"id": study.id}) == 1


def test_several_packs_go_in_one_statement(database: Database) -> None:
    study = Study(database, 6)
    with database.transaction() as session:
        made = insert_packs(session, [Pack(study.columns(), study.calls[at : at + 2], 0.5) for at in (0, 2, 4)])
    with database.transaction() as session:
        costs = {task.id: task.share_cost for task in session.scalars(select(Task).where(Task.id.in_(made)))}
        carried = session.scalars(select(Call.task_id).where(Call.study_id == study.id).order_by(Call.index)).all()
    assert costs == dict.fromkeys(made, 2.0)
    assert carried == [made[0], made[0], made[1], made[1], made[2], made[2]]


def test_the_end_of_a_task_ends_its_calls_and_returns_those_not_reached(database: Database) -> None:
    study = Study(database, 4)
    study.pack()
    taken = study.take()
    ends = (completed(study.calls[0]), failed(study.calls[1]))
    with database.transaction() as session:
        assert finish(session, taken.token, Outcome(None, USED, calls=ends), RULES) is TaskState.COMPLETED
    assert study.states() == ["completed", "failed", "waiting", "waiting"]
    assert study.marks() == [(1, 1, 0, 2)]
    with database.transaction() as session:
        rows = session.scalars(select(Call).where(Call.study_id == study.id).order_by(Call.index)).all()
        assert rows[0].result == {"stress": 1}
        assert (rows[0].wall_seconds, rows[0].cpu_seconds, rows[0].peak_memory_mb) == (0.25, 0.125, 40.0)
        assert (rows[1].error_code, rows[1].error_message) == ("user_error", "No.\N{REPLACEMENT CHARACTER}")
        assert rows[1].log == "line\n"
        assert [(row.task_id, row.position, row.tries) for row in rows[2:]] == [(None, None, 1)] * 2
        assert (rows[0].started_at is not None, rows[3].started_at) == (True, None)


def test_a_call_that_was_recorded_is_not_handed_out_again_and_keeps_its_first_end(database: Database) -> None:
    study = Study(database, 3)
    study.pack()
    first = study.take()
    with database.transaction() as session:
        assert record_calls(session, first.token, [completed(study.calls[1], 5)]) == 1
        assert record_calls(session, first.token, [completed(study.calls[1], 6)]) == 0
    with database.transaction() as session:
        lost = Outcome(FailureKind.LOST_MACHINE, USED, "lost_machine", "Gone.")
        assert finish(session, first.token, lost, RULES) is TaskState.QUEUED
        session.execute(
            text("UPDATE tasks SET claimable = true, hold_reason = NULL WHERE id = :id"), {"id": first.task_id}
        )
    assert study.states() == ["running", "completed", "running"], "they stay with their task, which is tried again"
    second = study.take()
    assert [call["id"] for call in second.calls or ()] == [str(study.calls[0]), str(study.calls[2])]
    with database.transaction() as session:
        assert record_calls(session, first.token, [completed(study.calls[0], 7)]) is None, "its token is over"
        assert finish(session, first.token, Outcome(None, USED, calls=[completed(study.calls[2])]), RULES) is None
    ends = [completed(call_id, 8) for call_id in study.calls]
    with database.transaction() as session:
        finish(session, second.token, Outcome(None, USED, calls=ends), RULES)
        found = session.scalars(select(Call.result).where(Call.study_id == study.id).order_by(Call.index)).all()
    assert found == [{"stress": 8}, {"stress": 5}, {"stress": 8}]
    assert study.marks() == [(1, 0, 0, 0), (2, 0, 0, 0)]


def test_a_task_that_ends_while_it_waits_returns_its_calls(database: Database) -> None:
    study = Study(database, 2)
    task_id = study.pack()
    with database.transaction() as session:
        assert end(session, [Ending(TaskState.CANCELLED, task_id=task_id, code="cancelled", message="Cancelled.")]) == 1
    assert study.states() == ["waiting", "waiting"]
    assert study.marks() == [(0, 0, 0, 2)]


def test_a_worker_without_the_ability_is_given_no_pack(database: Database) -> None:
    study = Study(database, 1)
    study.pack()
    with database.transaction() as session:
        found = claim(session, Worker(NODE, "old", "fake", frozenset()), Lane.DEFAULT, 4, RULES, packs=4)
    assert study.organization_id not in {item.organization_id for item in found}
    assert study.take().calls


def test_a_call_that_waits_is_cancelled_at_once_and_one_that_is_carried_is_asked(database: Database) -> None:
    study = Study(database, 3)
    study.pack(study.calls[:1])
    with database.transaction() as session:
        assert cancel_calls(session, study.calls[:2]) == 2
        assert cancel_calls(session, study.calls[1:2]) == 0
    assert study.states() == ["running", "cancelled", "waiting"]
    with database.transaction() as session:
        assert session.get_one(Call, study.calls[0]).cancel_requested_at is not None


@pytest.mark.parametrize("failure", [None, FailureKind.LOST_MACHINE])
def test_a_large_result_that_comes_with_the_end_of_its_task_is_named_on_its_call(
    database: Database, failure: FailureKind | None
) -> None:
    study = Study(database, 2)
    study.pack()
    taken = study.take()
    ends = [lies_elsewhere(study.calls[0], "first"), completed(study.calls[1])]
    outcome = Outcome(failure, USED, calls=ends)
    assert not is_common(outcome), "the short way knows no values in storage"
    with database.transaction() as session:
        assert finish(session, taken.token, outcome, RULES) is not None
    with database.transaction() as session:
        call = session.get_one(Call, study.calls[0])
        assert call.result_ref is not None
        value = session.get_one(StoredValue, call.result_ref)
    assert (call.state, value.key, value.size_bytes) == ("completed", "first", 300_000)
    assert value.organization_id == study.organization_id
    assert study.states() == ["completed", "completed"]


def test_a_large_result_that_is_told_again_has_no_second_row_with_which_it_would_be_removed(database: Database) -> None:
    study = Study(database, 1)
    study.pack()
    taken, key = study.take(), f"org/{uuid4()}"
    end_again = lies_elsewhere(study.calls[0], key)
    for _ in range(2):  # as when the answer to a commit was lost
        with database.transaction() as session:
            record_calls(session, taken.token, [end_again])
    with database.transaction() as session:
        finish(session, taken.token, Outcome(None, USED, calls=[end_again]), RULES)
    with database.transaction() as session:
        rows = session.scalars(select(StoredValue.id).where(StoredValue.key == key)).all()
        assert rows == [session.get_one(Call, study.calls[0]).result_ref]
