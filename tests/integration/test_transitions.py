"""The database refuses what core/states does not allow: every pair of states is tried on a real row."""

from itertools import product
from uuid import UUID

import pytest
from sqlalchemy import text

from mecapy_platform.core.states import INITIAL_STATES, TRANSITIONS, TaskState
from mecapy_platform.db.errors import StatementError
from mecapy_platform.db.session import Database

TASK = text("""
INSERT INTO tasks (organization_id, user_id, function_id, package_version_id, name, state, lane, rank, inputs,
        inputs_digest, cpu, memory_mb, timeout_seconds)
    VALUES (uuidv7(), uuidv7(), uuidv7(), uuidv7(), 'n', :state, 'default', 4, '{}', 'd', 1, 1, 1)
RETURNING id
""")
GO = text("UPDATE tasks SET state = :after WHERE id = :id")


def task_in(database: Database, state: TaskState) -> UUID:
    """A task that came to `state` the allowed way."""
    with database.transaction() as session:
        task_id: UUID = session.execute(TASK, {"state": TaskState.QUEUED}).scalar_one()
        way = [] if state is TaskState.QUEUED else [TaskState.RUNNING, state]
        for after in dict.fromkeys(way):
            session.execute(GO, {"after": after, "id": task_id})
        return task_id


@pytest.mark.parametrize(("before", "after"), list(product(TaskState, TaskState)))
def test_a_task_goes_from_state_to_state_only_as_the_table_allows(
    database: Database, before: TaskState, after: TaskState
) -> None:
    task_id = task_in(database, before)
    is_allowed = after is before or after in TRANSITIONS[before]
    try:
        with database.transaction() as session:
            session.execute(GO, {"after": after, "id": task_id})
    except StatementError:
        assert not is_allowed
    else:
        assert is_allowed


@pytest.mark.parametrize("state", list(TaskState))
def test_a_task_begins_only_where_tasks_begin(database: Database, state: TaskState) -> None:
    try:
        with database.transaction() as session:
            session.execute(TASK, {"state": state})
    except StatementError:
        assert state not in INITIAL_STATES
    else:
        assert state in INITIAL_STATES


def test_a_state_that_nobody_knows_is_refused(database: Database) -> None:
    task_id = task_in(database, TaskState.QUEUED)
    with pytest.raises(StatementError) as refused, database.transaction() as session:
        session.execute(GO, {"after": "asleep", "id": task_id})
    assert f"task {task_id} cannot go from queued to asleep" in refused.value.detail
