"""Where the inputs and the result of a task lie, for answers that hold them: no answer's process parses them.

Most lie in the task's row and are small. Larger ones lie in storage, or in rows that an earlier version wrote.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.db import values as statements

PIECE_CHARACTERS = 1 << 16


@dataclass(frozen=True)
class Lying:
    """One value as JSON text: at hand, in storage, or in its row to be read in pieces. Or there is none."""

    text: str | None = None
    key: str | None = None
    row_bytes: int | None = None

    @property
    def is_large(self) -> bool:
        return self.key is not None or self.row_bytes is not None


@dataclass(frozen=True)
class TaskValues:
    inputs: Lying
    result: Lying


def values_of(session: Session, task_id: UUID, *, row_bytes: int) -> TaskValues:
    """Of a task that the caller may see. `row_bytes`: up to this a value is handed out here."""
    row = session.execute(statements.OF_TASK, {"task_id": task_id, "most": row_bytes}).one()
    return TaskValues(
        _lying(row.inputs_text, row.inputs_key, row.inputs_bytes),
        _lying(row.result_text, row.result_key, row.result_bytes),
    )


def row_pieces(
    transaction: Callable[[], AbstractContextManager[Session]], task_id: UUID, column: str, row_bytes: int
) -> Iterator[bytes]:
    """The text of a large value in its row, a piece at a time, each in a transaction of its own.

    Raises ConnectionAbortedError where it was moved meanwhile: the reader must not take a part for the whole.
    """
    first, left = 1, row_bytes
    while True:
        with transaction() as session:
            asked = {"task_id": task_id, "first": first, "most": PIECE_CHARACTERS}
            piece = session.scalar(statements.PIECES[column], asked)
        if not piece:
            break
        first += len(piece)
        left -= len(piece.encode())
        yield piece.encode()
    if left > 0:
        raise ConnectionAbortedError("a value was moved while it was read")


def _lying(text: str | None, key: str | None, row_bytes: int | None) -> Lying:
    if key is not None:
        return Lying(key=key)
    return Lying(text=text) if text is not None or row_bytes is None else Lying(row_bytes=row_bytes)
