"""The end of a call that a task carries: what is written of it, with the end of its task or before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.states import Usage
from mecapy_platform.core.stored_text import storable
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db import queue
from mecapy_platform.services.tasks.inserting import as_text

LOG_CHARACTERS = 64_000  # of the log of a call; a task that is not a call's has a table for its log


@dataclass(frozen=True)
class CallEnd:
    """Completed, failed or cancelled. `result_ref`: of a result too large for its row."""

    call_id: UUID
    state: CallState
    usage: Usage
    result: Mapping[str, Any] | None = None
    result_ref: UUID | None = None
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
    ended: int | None = session.execute(
        queue.RECORD_CALLS, {"token": token, "calls": as_text(call_records(ends) or [])}
    ).scalar()
    return ended
