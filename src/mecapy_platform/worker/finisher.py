"""The one place of a worker process where attempts end. Completed ones go together, all others alone, and none waits for a neighbour."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.quick import WORKER_STATEMENTS
from mecapy_platform.db.wire import Wire
from mecapy_platform.services.finish_many import FINISH_MOST, Ended, finish_many, is_common
from mecapy_platform.services.release import release
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.report import REPORT_FOR_SECONDS, WAIT_MAX_SECONDS, Report, report_alone

log = logging.getLogger(__name__)
ALONE_THREADS = 4
Done = Callable[[], None]
Tell = Callable[[Sequence[Lane]], None]
Waiting = tuple[Report, Ended, Done]


class Finisher:
    """Shared by all slots. The thread that brings an end takes along what others have brought meanwhile.

    So a batch is what came while the one before it was on its way: no thread of its own and no timer waits for one to fill.
    After each batch `ring` wakes this process' engines of the lanes in which something waits that may have room now, and `pass_on` tells
    others.
    """

    def __init__(self, context: WorkerContext, ring: Tell, pass_on: Tell) -> None:
        self._context = context
        self._ring, self._pass_on = ring, pass_on
        self._wire = Wire(context.settings.database_worker_url, WORKER_STATEMENTS)
        self._waiting: deque[Waiting] = deque()
        self._at_work = threading.Lock()
        self._alone = ThreadPoolExecutor(ALONE_THREADS, thread_name_prefix="finish-alone")

    def offer(self, report: Report, done: Done) -> None:
        """Bring an end; `done` is called when nothing more is to be done about it, from any thread."""
        lines = report.pump.few_lines() if is_common(report.outcome) else None
        if lines is None:
            self._go_alone(report, done)
            return
        self._waiting.append((report, Ended(report.claim.token, report.outcome, lines), done))
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

    def _finish(self, batch: Sequence[Waiting]) -> None:
        """All that can go together; those that were not ended are looked at alone: late ones, and ones that the batch could not hold."""
        deadline, wait_seconds = time.monotonic() + REPORT_FOR_SECONDS, 0.05
        while True:
            try:
                finished = finish_many(self._wire, [ended for _, ended, _ in batch])
                break
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if time.monotonic() > deadline:
                    log.exception("%s ends could not be reported; their leases will run out", len(batch))
                    for _, _, done in batch:
                        done()
                    self._ring(tuple(Lane))
                    return
                log.warning("ends are kept for later: %s", str(error).splitlines()[0])
                time.sleep(wait_seconds)
                wait_seconds = min(WAIT_MAX_SECONDS, wait_seconds * 2)
        left = []
        for one in batch:
            report, ended, done = one
            if ended.token in finished.tokens:
                self._context.probe("finished", report.claim)
                done()
            else:
                left.append(one)
        self._ring(finished.lanes)
        self._pass_on(finished.lanes)
        self._apart(left)

    def _apart(self, batch: Sequence[Waiting]) -> None:
        for report, _, done in batch:
            self._alone.submit(self._go_alone, report, done)

    def _go_alone(self, report: Report, done: Done) -> None:
        claim = report.claim
        try:
            report_alone(self._context, report)
        except SQLAlchemyError:
            log.exception("attempt %s of task %s ended without a report; its lease will run out", claim.number, claim.task_id)
        finally:
            done()
            self._ring(tuple(Lane))
        try:
            release(self._context.database, self._context.send)
        except SQLAlchemyError as error:
            log.warning("release failed, the sweep will see to it: %s", str(error).splitlines()[0])
