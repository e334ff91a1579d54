"""How new tasks are handed to db's mecapy_insert_tasks: what one submit shares, and what each task has."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.ids import as_plain
from mecapy_platform.db import queue
from mecapy_platform.db.tables import Task

SHARED = (
    *("organization_id", "user_id", "function_id", "package_version_id", "hold_reason", "cpu", "memory_mb", "needs"),
    *("retries", "package_digest", "environment_digest", "interpreter"),
)
PARENTS = ("run_id", "study_id", "batch_id")  # of all, where they have one
PLACES = ("node_id", "point")  # of each, in its parent
CARRIED = ("calls_count", "share_cost", "calls")  # of each that carries calls, see services/tasks/packs
OWN = (
    "name",
    "lane",
    "priority",
    "rank",
    "inputs",
    "inputs_ref",
    "files",
    "inputs_digest",
    "timeout_seconds",
    "retry_of",
)


def shared(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: columns[name] for name in SHARED} | _given(columns, PARENTS)


def own(task_id: UUID, columns: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": task_id, **{name: columns[name] for name in OWN}, **_given(columns, (*PLACES, *CARRIED))}


def _given(columns: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: columns[name] for name in names if columns.get(name) is not None}


def as_text(value: object) -> str:
    """JSON, with ids as text."""
    return json.dumps(value, separators=(",", ":"), default=as_plain)


def insert(session: Session, made: Sequence[tuple[UUID, Mapping[str, Any]]]) -> dict[UUID, Task]:
    """Insert tasks with their events, in this order: their ids and columns. Returns the rows."""
    if not made:
        return {}
    write(session, made)
    rows = session.scalars(select(Task).where(Task.id.in_([task_id for task_id, _ in made])))
    return {task.id: task for task in rows}


def write(session: Session, made: Iterable[tuple[UUID, Mapping[str, Any]]]) -> None:
    """As `insert`, for who needs no rows. Those that share what can be shared go in one statement."""
    session.flush()
    for group, tasks in groupby(made, key=lambda task: as_text(shared(task[1]))):
        _insert(session, json.loads(group), tasks)


def _insert(session: Session, group: dict[str, Any], tasks: Iterable[tuple[UUID, Mapping[str, Any]]]) -> None:
    own_columns = [own(task_id, columns) for task_id, columns in tasks]
    carries = {"carries": True} if any("calls" in columns for columns in own_columns) else {}
    submitted = {**group, **carries, "tasks": own_columns}
    session.execute(queue.INSERT_TASKS, {"submitted": as_text(submitted)})
