"""The end of a task tells the run or the study that it belongs to, in the transaction of the end."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mecapy_platform.core.ids import new_id
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Task
from mecapy_platform.db.workflow_tables import DueMark
from mecapy_platform.services.tasks.ending import Ending, end
from support import factories
from support.platform.services import fresh_database


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with fresh_database() as server:
        made = Database(make_engine(server.worker_url))
        yield made
        made.dispose()


def queued(session: Session, **parents: Any) -> UUID:
    task = factories.queued_task(factories.organization_of(session), uuid4(), uuid4(), **{"id": new_id(), **parents})
    session.add(task)
    session.flush()
    return task.id


@pytest.mark.parametrize(
    ("parents", "marks"),
    [({}, 0), ({"run_id": uuid4(), "node_id": uuid4()}, 1), ({"study_id": uuid4(), "point": 7}, 1)],
    ids=["nobody's", "a run's", "a study's"],
)
def test_the_end_of_a_task_is_marked_once_for_its_parent(
    database: Database, parents: dict[str, Any], marks: int
) -> None:
    with database.transaction() as session:
        task_id = queued(session, **parents)
    cancelled = Ending(TaskState.CANCELLED, task_id=task_id, code="cancelled", message="Cancelled.")
    with database.transaction() as session:
        assert end(session, [cancelled]) == 1
        assert end(session, [cancelled]) == 0
    with database.transaction() as session:
        found = session.scalars(select(DueMark).where(DueMark.task_id == task_id)).all()
        assert [(mark.run_id, mark.study_id) for mark in found] == [
            (parents.get("run_id"), parents.get("study_id"))
        ] * marks


def test_a_mark_goes_with_its_end(database: Database) -> None:
    with database.transaction() as session:
        task_id = queued(session, run_id=uuid4(), node_id=uuid4())
    with database.transaction() as session:
        end(session, [Ending(TaskState.CANCELLED, task_id=task_id, code="cancelled", message="Cancelled.")])
        session.rollback()
    with database.transaction() as session:
        assert session.get_one(Task, task_id).state == "queued"
        assert session.scalar(text("SELECT count(*) FROM due_marks WHERE task_id = :id"), {"id": task_id}) == 0
