"""Writes the ends of the calls of a task while it goes on; what is left over rides with the task's own end."""

import logging
import time
from collections.abc import Sequence

from mecapy_platform.core.states import FailureKind, Usage
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db.errors import DatabaseError, ValueNotStorableError
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.finish import Outcome
from mecapy_platform.services.tasks.call_ends import CallEnd, record_calls
from mecapy_platform.worker.carried import CarriedCall
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.report import UNFIT

log = logging.getLogger(__name__)
RECORD_SECONDS = 1.0
RECORD_MOST = 500


class CallRecorder:
    """Not shared between threads. `is_fenced`: the attempt no longer counts, and nothing of it is written any more."""

    def __init__(self, context: WorkerContext, claim: Claim) -> None:
        self._context, self._claim = context, claim
        self._pending: list[CallEnd] = []
        self._written_at = time.monotonic()
        self.is_fenced = False
        self._wall_seconds = self._cpu_seconds = self._peak_mb = 0.0

    def add(self, call: CarriedCall, outcome: Outcome, text: str) -> None:
        end = end_of(call, outcome, text)
        self._wall_seconds += end.usage.wall_seconds
        self._cpu_seconds += end.usage.cpu_seconds or 0.0
        self._peak_mb = max(self._peak_mb, end.usage.peak_memory_mb or 0.0)
        self._pending.append(end)
        if len(self._pending) >= RECORD_MOST or end.stored_result is not None:
            self.write()
        self.look()

    def look(self) -> None:
        """Called now and then, also while a call goes on."""
        if self._pending and time.monotonic() - self._written_at >= RECORD_SECONDS:
            self.write()

    def write(self) -> None:
        """What is pending; kept for the next time when the database is away."""
        self._written_at = time.monotonic()
        ends, self._pending = self._pending, []
        if not ends or self.is_fenced:
            return
        try:
            self._write(ends)
        except DatabaseError as error:
            log.warning("ends of calls are kept for later: %s", error.detail)
            self._pending = ends

    def rest(self) -> Sequence[CallEnd]:
        """What rides with the end of the task, which is told until the database takes it."""
        return tuple(self._pending)

    @property
    def usage(self) -> Usage:
        return Usage(self._wall_seconds, self._cpu_seconds, self._peak_mb or None)

    def _write(self, ends: Sequence[CallEnd]) -> None:
        """Those that cannot be stored fail alone."""
        try:
            with self._context.database.transaction() as session:
                self.is_fenced = record_calls(session, self._claim.token, ends) is None
        except ValueNotStorableError:
            if len(ends) == 1:
                failed = CallEnd(
                    ends[0].call_id, CallState.FAILED, ends[0].usage, None, None, None, "value_not_storable", UNFIT
                )
                with self._context.database.transaction() as session:
                    record_calls(session, self._claim.token, [failed])
                return
            for end in ends:
                self._write([end])
            return
        self._context.probe("recorded", self._claim)


def end_of(call: CarriedCall, outcome: Outcome, text: str) -> CallEnd:
    state = CallState.COMPLETED if outcome.failure is None else CallState.FAILED
    if outcome.failure is FailureKind.CANCELLED:
        state = CallState.CANCELLED
    return CallEnd(
        call.id,
        state,
        outcome.usage,
        result=outcome.result,
        stored_result=outcome.stored_result,
        error_code=outcome.code,
        error_message=outcome.message,
        log=text,
    )
