"""The one place of a worker process where attempts end.

Completed ones go together, all others alone, and none waits for a neighbour.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.errors import DatabaseAwayError, DatabaseError
from mecapy_platform.db.fast_path import WORKER_STATEMENTS
from mecapy_platform.db.wire import Wire
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.services.fast_finish import FINISH_MOST, EndedAttempt, Finished, fast_finish, is_common
from mecapy_platform.services.release import release
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.live import LiveAttempt
from mecapy_platform.worker.report import REPORT_FOR_SECONDS, WAIT_MAX_SECONDS, Report, report_alone

log = logging.getLogger(__name__)
ALONE_THREADS = 4
Done = Callable[[], None]
Tell = Callable[[Sequence[Lane]], None]


class SlotOwner(Protocol):
    """Whose slots become free with an end: an engine."""

    fast_claim: FastClaim

    def reserve(self, wanted: int) -> int:
        """Keep up to so many free slots."""

    def packs_among(self, reserved: int) -> int:
        """How many of those may go to tasks that carry calls."""

    def begin(self, claims: Sequence[Claim], reserved: int = 0, *, is_recorded: bool = True) -> Sequence[LiveAttempt]:
        """Run them in the slots that were kept."""

    def confirm_claims(self, started: Sequence[LiveAttempt], *, is_committed: bool) -> None:
        """The claim of those that were begun unrecorded is committed, or nobody knows."""


@dataclass(frozen=True)
class PendingEnd:
    """An end that was brought; `done` is called when nothing more is to be done about it."""

    report: Report
    ended: EndedAttempt
    done: Done
    seats: SlotOwner | None


class Finisher:
    """Shared by all slots. The thread that brings an end takes along what others have brought meanwhile.

    So a batch is what came while the one before it was on its way: no thread of its own and no timer waits for one to
    fill. The slots that become free are filled in the same transaction. After each batch `ring` wakes this process'
    engines of the lanes in which something still waits, `pass_on` tells others, and `heard` is told the claims of which
    tasks have ended.
    """

    def __init__(
        self, context: WorkerContext, ring: Tell, pass_on: Tell, heard: Callable[[Sequence[Claim]], None] | None = None
    ) -> None:
        self._context = context
        self._ring, self._pass_on = ring, pass_on
        self._heard = heard or (lambda _: None)
        self._wire = Wire(context.settings.database_worker_url, WORKER_STATEMENTS)
        self._waiting: deque[PendingEnd] = deque()
        self._at_work = threading.Lock()
        self._alone = ThreadPoolExecutor(ALONE_THREADS, thread_name_prefix="finish-alone")

    def offer(self, report: Report, done: Done, seats: SlotOwner | None = None) -> None:
        """Bring an end; `done` is called when nothing more is to be done about it, from any thread.

        `seats`: who may run another now.
        """
        lines = report.pump.unsent_lines_if_few() if is_common(report.outcome) else None
        if lines is None:
            self._go_alone(report, done)
            return
        self._waiting.append(PendingEnd(report, EndedAttempt(report.claim.token, report.outcome, lines), done, seats))
        while self._waiting and self._at_work.acquire(blocking=False):
            try:
                self._finish_waiting()
            finally:
                self._at_work.release()

    def close(self) -> None:
        self._alone.shutdown(wait=True)
        self._wire.close()

    def _finish_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), FINISH_MOST))]
            try:
                self._finish(batch)
            except Exception:  # a mistake of ours in one batch must not keep its neighbours from being tried
                log.exception("a batch of %s ends goes one by one", len(batch))
                self._apart(batch)

    def _finish(self, batch: Sequence[PendingEnd]) -> None:
        """All that can go together; those that were not ended are looked at alone.

        Late ones, and ones that the batch could not hold.
        """
        deadline, wait_seconds = time.monotonic() + REPORT_FOR_SECONDS, 0.05
        while True:
            try:
                finished = self._finish_and_claim(batch)
                break
            except DatabaseAwayError as error:
                if time.monotonic() > deadline:
                    log.exception("%s ends could not be reported; their leases will run out", len(batch))
                    for item in batch:
                        item.done()
                    self._ring(tuple(Lane))
                    return
                log.warning("ends are kept for later: %s", error.detail)
                time.sleep(wait_seconds)
                wait_seconds = min(WAIT_MAX_SECONDS, wait_seconds * 2)
        left = []
        for entry in batch:
            if entry.ended.token in finished.tokens:
                self._context.probe("finished", entry.report.claim)
                entry.done()
            else:
                left.append(entry)
        self._heard([entry.report.claim for entry in batch if entry.ended.token in finished.tokens])
        self._ring(finished.lanes)
        self._pass_on(finished.lanes)
        self._apart(left)

    def _finish_and_claim(self, batch: Sequence[PendingEnd]) -> Finished:
        """What is claimed starts while the commit is on its way; should that fail, `confirm_claims` stops it."""
        seats = next(
            (item.seats for item in batch if item.seats is not None and item.seats.fast_claim.is_possible), None
        )
        reserved = 0 if seats is None else seats.reserve(sum(item.seats is seats for item in batch))
        started: Sequence[LiveAttempt] = ()
        is_committed = False
        try:
            packs = 0 if seats is None else seats.packs_among(reserved)
            fast_claim = None if seats is None else seats.fast_claim
            ended = [item.ended for item in batch]
            with fast_finish(self._wire, ended, fast_claim, reserved, packs) as finished:
                if seats is not None:
                    started, reserved = seats.begin(finished.claims, reserved, is_recorded=False), 0
            is_committed = True
            return finished
        finally:
            if seats is not None:
                seats.begin((), reserved)
                seats.confirm_claims(started, is_committed=is_committed)

    def _apart(self, batch: Sequence[PendingEnd]) -> None:
        for item in batch:
            self._alone.submit(self._go_alone, item.report, item.done)

    def _go_alone(self, report: Report, done: Done) -> None:
        claim = report.claim
        try:
            report_alone(self._context, report)
        except DatabaseError:
            log.exception(
                "attempt %s of task %s ended without a report; its lease will run out", claim.number, claim.task_id
            )
        else:
            self._heard([claim])
        finally:
            done()
            self._ring(tuple(Lane))
        try:
            release(self._context.database, self._context.send)
        except DatabaseError as error:
            log.warning("release failed, the sweep will see to it: %s", error.detail)
