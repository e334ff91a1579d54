"""Claims tasks for the free slots of one lane and runs each in a slot. A hint, a freed slot or a slow clock wakes it."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from mecapy_platform.core.lanes import LANE_LIMIT_SECONDS, Lane
from mecapy_platform.db.quick import WORKER_STATEMENTS
from mecapy_platform.db.wire import Wire
from mecapy_platform.sandbox.base import StopReason
from mecapy_platform.services import claims
from mecapy_platform.services.claim_all import ClaimAll
from mecapy_platform.services.claims import Claim
from mecapy_platform.worker.bell import Bell
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.finisher import Finisher
from mecapy_platform.worker.live import LiveAttempt, LiveAttempts
from mecapy_platform.worker.report import Report

log = logging.getLogger(__name__)
IDLE_LOOK_SECONDS = 10.0  # also without a hint: then a broker that is away costs seconds, not tasks
LINGER_SECONDS = 2.0  # after the last claim, hints are heard without Celery
LINGER_LOOK_SECONDS = 1.0

RunTask = Callable[[WorkerContext, Claim, LiveAttempt], Report | None]  # None: it goes on without us


class Engine(threading.Thread):
    """One lane's slots. `poke` from anywhere, at any time; `drain` stops claiming and ends what runs."""

    def __init__(
        self,
        context: WorkerContext,
        lane: Lane,
        live: LiveAttempts,
        run_task: RunTask,
        *,
        bell: Bell,
        finisher: Finisher,
        clear_hint: Callable[[Lane], None],
        pass_on: Callable[[Sequence[Lane]], None],
    ) -> None:
        super().__init__(name=f"engine-{lane}", daemon=True)
        self.lane = lane
        self._context = context
        self._live = live
        self._run_task = run_task
        self._bell = bell
        self._finisher = finisher
        self._clear_hint = clear_hint
        self._pass_on = pass_on
        self._slots = max(1, context.settings.slots.get(lane, 1))
        self._pool = ThreadPoolExecutor(max_workers=self._slots * 4, thread_name_prefix=f"slot-{lane}")
        self._wire = Wire(context.settings.database_worker_url, WORKER_STATEMENTS)
        self._claim_all = ClaimAll(self._wire, context.worker, context.settings)
        self._hinted = True  # a hint may have come before we were there
        self._draining = threading.Event()
        self._started_at: dict[int, float] = {}
        self._open: set[int] = set()
        self._claimed_at = float("-inf")
        self._lock = threading.Lock()
        self.builds: Callable[[], None] | None = None  # the default lane also starts builds

    def poke(self) -> None:
        """Somebody says that there is work."""
        self._hinted = True
        self._bell.ring()

    def freed(self) -> None:
        """A slot, or room, is free, and there is work for it."""
        self._bell.ring()

    def run(self) -> None:
        hinted = False
        while not self._draining.is_set():
            try:
                wait_seconds = self._look(hinted=hinted)
            except (SQLAlchemyError, psycopg.Error) as error:
                log.warning("claim failed and is tried again: %s", str(error).splitlines()[0])
                wait_seconds = 1.0
            except Exception:  # an engine that died would leave its lane without a worker, and nobody would know
                log.exception("claim failed and is tried again")
                wait_seconds = 1.0
            lingers = time.monotonic() - self._claimed_at < LINGER_SECONDS
            hinted = self._bell.wait(min(wait_seconds, LINGER_LOOK_SECONDS) if lingers else wait_seconds, lingers=lingers)

    def drain(self, seconds: float) -> None:
        """Take nothing more; let what runs end for a while, then stop it so that another worker takes it over."""
        self._draining.set()
        self._bell.ring()
        deadline = time.monotonic() + seconds
        while self._busy() and time.monotonic() < deadline:
            time.sleep(0.05)
        for live in self._live.all():
            live.stop(StopReason.DRAIN)
        self._pool.shutdown(wait=True)
        self._bell.close()
        self._wire.close()

    def _look(self, *, hinted: bool) -> float:
        """Claim until nothing more comes; returns how long to wait for the next ring."""
        hinted = hinted or self._hinted
        if self._hinted or time.monotonic() - self._claimed_at > LINGER_SECONDS:
            self._hinted = False
            if self.builds is not None:
                self.builds()
            self._clear_hint(self.lane)  # before the claim: a commit either precedes this and is seen, or sends a hint of its own
        while not self._draining.is_set():
            free = self._slots - self._counted()
            if free <= 0:
                if hinted:
                    self._pass_on([self.lane])  # the hint was for whoever has a free slot
                return IDLE_LOOK_SECONDS
            claimed = self._claim(free)
            if claimed:
                self._claimed_at = time.monotonic()
            for claim in claimed:
                self._context.probe("claimed", claim)
                self._start(claim)
            if len(claimed) < free:
                return IDLE_LOOK_SECONDS
        return 0.0

    def _claim(self, free: int) -> Sequence[Claim]:
        claimed = self._claim_all.claim(self.lane, free)
        if claimed is None:
            with self._context.database.transaction() as session:
                claimed = claims.claim(session, self._context.worker, self.lane, free, self._context.settings)
        return claimed

    def _start(self, claim: Claim) -> None:
        live = self._live.add(claim)
        key = id(live)
        with self._lock:
            self._started_at[key] = time.monotonic()
            self._open.add(key)
        self._pool.submit(self._run_slot, claim, live, key)

    def _run_slot(self, claim: Claim, live: LiveAttempt, key: int) -> None:
        def done() -> None:
            self._live.remove(claim.token)
            with self._lock:
                self._open.discard(key)

        report = None
        try:
            report = self._run_task(self._context, claim, live)
        except Exception:
            log.exception("attempt %s of task %s ended without a report; its lease will run out", claim.number, claim.task_id)
        with self._lock:
            self._started_at.pop(key, None)
        if report is None:
            done()
            self.freed()
        else:
            self._finisher.offer(report, done)

    def _busy(self) -> int:
        with self._lock:
            return len(self._open)

    def _counted(self) -> int:
        """Slots in use; a task that has outlived its lane's limit counts with the longer lane and frees its slot here."""
        limit = LANE_LIMIT_SECONDS.get(self.lane)
        now = time.monotonic()
        with self._lock:
            young = sum(1 for started in self._started_at.values() if limit is None or now - started <= limit)
            room = self._slots * 4 - len(self._started_at)
        return max(young, self._slots - room)
