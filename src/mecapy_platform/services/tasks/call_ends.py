"""The end of a call that a task carries: what is written of it, with the end of its task or before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mecapy_platform.core.states import Usage
from mecapy_platform.core.stored_text import storable
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db import queue
from mecapy_platform.db.tables import StoredValue
from mecapy_platform.db.workflow_tables import Call
from mecapy_platform.services.tasks.inserting import as_text
from mecapy_platform.storage.base import Stored

LOG_CHARACTERS = 64_000  # of the log of a call; a task that is not a call's has a table for its log


@dataclass(frozen=True)
class CallEnd:
    """Completed, failed or cancelled. `result_ref`: of a result too large for its row."""

    call_id: UUID
    state: CallState
    usage: Usage
    result: Mapping[str, Any] | None = None
    result_ref: UUID | None = None
    stored_result: Stored | None = None  # where it is too large for the row and has no reference yet
    error_code: str | None = None
    error_message: str | None = None
    log: str = ""

    def record(self) -> dict[str, Any]:
        """As mecapy_end_calls reads it."""
        message = None if self.error_message is None else storable(self.error_message)
        return {
            "id": self.call_id,
            "state": self.state,
            "result": self.result,
            "result_ref": self.result_ref,
            "error_code": self.error_code,
            "error_message": message,
            "log": storable(self.log, LOG_CHARACTERS) if self.log else None,
            **vars(self.usage),
        }


def call_records(ends: Sequence[CallEnd]) -> list[dict[str, Any]] | None:
    return [end.record() for end in ends] or None


def record_calls(session: Session, token: UUID, ends: Sequence[CallEnd]) -> int | None:
    """Write ends while their task goes on. Returns how many still counted; None where the token no longer counts."""
    ends = referred(session, ends)
    ended: int | None = session.execute(
        queue.RECORD_CALLS, {"token": token, "calls": as_text(call_records(ends) or [])}
    ).scalar()
    return ended


def referred(session: Session, ends: Sequence[CallEnd]) -> list[CallEnd]:
    """Ends as they are written: a result that lies in storage is named by its call through a row of stored_values."""
    return [_referred(session, end) for end in ends]


def _referred(session: Session, end: CallEnd) -> CallEnd:
    """An end that is written once more, as when the answer to a commit was lost, finds its row.

    Of two rows for an object the sweep would take the one that nobody names, and the object with it.
    """
    stored = end.stored_result
    if stored is None:
        return end
    value_id = uuid5(end.call_id, stored.key)
    session.execute(
        insert(StoredValue)
        .values(
            id=value_id,
            organization_id=select(Call.organization_id).where(Call.id == end.call_id).scalar_subquery(),
            key=stored.key,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
        )
        .on_conflict_do_nothing()
    )
    return replace(end, result_ref=value_id, stored_result=None)
