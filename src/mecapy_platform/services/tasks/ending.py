"""The end of a task, for whoever ends one: what is written of it is one record, and db's mecapy_end writes it.

Python has decided by now. The row, its attempt, its event and the ring for those who wait change in one statement.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.ids import as_plain
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db import queue

COMPLETED = "completed"


@dataclass(frozen=True)
class Failures:
    """How often a task has failed by now, by its machines' fault, by its own, and by outages that count apart."""

    machine_failures: int
    own_failures: int
    outages: int


@dataclass(frozen=True)
class Ending:
    """An attempt that ends, named by its token, or a task that ends while it waits, named by its id.

    `state` is a final one, or QUEUED: another attempt follows after `delay_seconds`. `message` is the attempt's, and
    the task's where that has no `task_message`. What is None stays as it is, or empty.
    """

    state: TaskState
    token: UUID | None = None
    task_id: UUID | None = None
    attempt_state: str | None = None
    code: str | None = None
    message: str | None = None
    task_message: str | None = None
    parked: bool | None = None
    delay_seconds: float = 0.0
    failures: Failures | None = None
    leftovers_removed: bool = True
    is_told: bool = False  # who waits is told the answer with the ring: of a completed task without files of its own
    result: Mapping[str, Any] | None = None
    result_ref: UUID | None = None  # of a result too large for the task's row
    usage: Usage | None = None
    lines: Sequence[Mapping[str, Any]] | None = None  # of the log, that are not stored yet: index, kind, text
    calls: Sequence[Mapping[str, Any]] | None = None  # ends of calls that it carried, see services/tasks/packs

    def record(self) -> dict[str, Any]:
        """As mecapy_end reads it."""
        found = {name: value for name in PLAIN if (value := getattr(self, name)) is not None}
        for part in (self.usage, self.failures):
            if part is not None:
                found |= vars(part)
        return found


PLAIN = tuple(field.name for field in fields(Ending) if field.name not in {"usage", "failures"})


def as_text(endings: Sequence[Ending]) -> str:
    """What mecapy_end and mecapy_finish are given."""
    return json.dumps([ending.record() for ending in endings], separators=(",", ":"), default=as_plain)


def end(session: Session, endings: Sequence[Ending]) -> int:
    """Write the ends. What the session has read of these rows is old then. Returns how many still counted."""
    if not endings:
        return 0
    session.flush()
    named = session.execute(queue.END, {"ends": as_text(endings)}).scalar()
    return 0 if named is None else named.count(",") + 1
