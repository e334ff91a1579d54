"""Carries output and progress of a running attempt into the database, in batches, while it runs."""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.sandbox.base import LogChunk, ProgressLine, Tick
from mecapy_platform.services import logs
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.logs import Line
from mecapy_platform.services.tasks.call_ends import LOG_CHARACTERS
from mecapy_platform.worker.context import WorkerContext

log = logging.getLogger(__name__)
FLUSH_SECONDS = 0.5
FLUSH_CHARACTERS = 64 * 1024
FEW_LINES = 200
KEPT_CHARACTERS = 4000
HELD_LINES = 20_000  # while the database is away; what comes after is dropped and said


class Sink(Protocol):
    """Where the output of a run goes."""

    def take(self, event: LogChunk | ProgressLine | Tick) -> None:
        """One event, in order."""

    def flush(self) -> None:
        """Nothing more comes for a while."""

    def last_lines(self, count: int) -> str:
        """The end of stderr, for a failure without a message of its own."""


class CallLog:
    """The output of a call that a task carries: text, up to a bound. Progress is not kept.

    `look` is called meanwhile.
    """

    def __init__(self, look: Callable[[], None] = lambda: None, most: int = LOG_CHARACTERS) -> None:
        self._look, self._most = look, most
        self._pieces: list[str] = []
        self._characters = 0
        self._last: deque[str] = deque(maxlen=200)

    def take(self, event: LogChunk | ProgressLine | Tick) -> None:
        if not isinstance(event, LogChunk):
            self._look()
            return
        if self._characters <= self._most:
            self._pieces.append(event.text)
            self._characters += len(event.text)
        if event.stream == "stderr":
            self._last.append(event.text)

    def flush(self) -> None:
        pass

    def last_lines(self, count: int) -> str:
        text = "".join(self._last)[-KEPT_CHARACTERS:]
        return "\n".join(text.strip().splitlines()[-count:])

    @property
    def text(self) -> str:
        return "".join(self._pieces)


class Pump:
    """Not shared between threads. Lines keep their order and get the task's next indexes."""

    def __init__(self, context: WorkerContext, claim: Claim, next_index: int | None = None) -> None:
        self._context = context
        self._claim = claim
        self._next = next_index
        self._pending: list[tuple[str, str]] = []
        self._characters = 0
        self._dropped = 0
        self._flushed_at = time.monotonic()
        self._last: deque[str] = deque(maxlen=200)

    def take(self, event: LogChunk | ProgressLine | Tick) -> None:
        if isinstance(event, LogChunk):
            self._add(event.stream, event.text)
            if event.stream == "stderr":
                self._last.append(event.text)
        elif isinstance(event, ProgressLine):
            self._add("progress", json.dumps(event.record))
        is_due = time.monotonic() - self._flushed_at >= FLUSH_SECONDS
        if self._pending and (is_due or self._characters >= FLUSH_CHARACTERS):
            self.flush()

    def flush(self) -> None:
        """Write what is pending; kept for the next time when the database is away."""
        if not self._pending:
            return
        self._flushed_at = time.monotonic()
        try:
            with self._context.database.transaction() as session:
                following = self.write(session)
        except DatabaseError as error:
            log.warning("log lines are kept for later: %s", error.detail)
            return
        self._next = following
        self._pending.clear()
        self._characters = 0
        if self._dropped:
            self._add("platform", f"{self._dropped} pieces of output were dropped while the database was away.")
            self._dropped = 0

    def write(self, session: Session) -> int | None:
        """Add what is pending to the caller's transaction; the index that follows.

        Repeated, it writes no line twice.
        """
        if not self._pending:
            return self._next
        if self._next is None:
            self._next = logs.next_index(session, self._claim.task_id)
        lines = [Line(self._next + offset, kind, text) for offset, (kind, text) in enumerate(self._pending)]
        logs.append(session, self._claim.task_id, self._claim.token, lines)
        return self._next + len(lines)

    def unsent_lines_if_few(self) -> Sequence[Line] | None:
        """What is pending, numbered, when it may ride with the end of the attempt.

        None when it is much or its numbers are not known.
        """
        if not self._pending:
            return ()
        if self._next is None and self._claim.number == 1:
            self._next = 0
        has_progress = any(kind == "progress" for kind, _ in self._pending)
        if (
            self._next is None
            or has_progress
            or self._dropped
            or len(self._pending) > FEW_LINES
            or self._characters > FLUSH_CHARACTERS
        ):
            return None
        return [Line(self._next + offset, kind, text) for offset, (kind, text) in enumerate(self._pending)]

    def last_lines(self, count: int) -> str:
        """The end of stderr, for a failure without a message of its own."""
        text = "".join(self._last)[-KEPT_CHARACTERS:]
        return "\n".join(text.strip().splitlines()[-count:])

    def _add(self, kind: str, text: str) -> None:
        if len(self._pending) >= HELD_LINES:
            self._dropped += 1
            return
        self._pending.append((kind, text))
        self._characters += len(text)
