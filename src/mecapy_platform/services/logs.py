"""Keeps what a running task says: lines with offsets, and the last progress. Guarded by the attempt's token."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mecapy_platform.db import queue
from mecapy_platform.db.tables import Task, TaskLog

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Line:
    """A piece of output: `kind` is stdout, stderr, progress (a JSON object) or platform (said by us)."""

    index: int
    kind: str
    text: str


def next_index(session: Session, task_id: UUID) -> int:
    """Where a new attempt goes on counting."""
    last = session.scalar(select(func.max(TaskLog.index)).where(TaskLog.task_id == task_id))
    return 0 if last is None else last + 1


def append(session: Session, task_id: UUID, token: UUID, lines: Sequence[Line]) -> None:
    """Store lines of an attempt that still counts; PostgreSQL text holds no NUL, so it is replaced."""
    if not lines:
        return
    values = {
        "task_id": task_id,
        "token": token,
        "indexes": [line.index for line in lines],
        "kinds": [line.kind for line in lines],
        "texts": [line.text.replace("\0", REPLACEMENT) for line in lines],
    }
    session.execute(queue.APPEND_LOGS, values)
    progress = next((line for line in reversed(lines) if line.kind == "progress"), None)
    if progress is not None:
        record: dict[str, Any] = json.loads(progress.text)
        session.execute(update(Task).where(Task.id == task_id, Task.attempt_token == token).values(progress=record))
