"""Claims tasks for the free slots of one lane and runs each in a slot. A hint, a freed slot or a slow clock wakes it."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import SQLAlchemyError

from mecapy_platform.core.lanes import LANE_LIMIT_SECONDS, Lane
from mecapy_platform.sandbox.base import StopReason
from mecapy_platform.services import claims
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.release import release
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.live import LiveAttempt, LiveAttempts

log = logging.getLogger(__name__)
IDLE_LOOK_SECONDS = 10.0  # also without a hint: then a broker that is away costs seconds, not tasks

RunTask = Callable[[WorkerContext, Claim, LiveAttempt], None]


class Engine(threading.Thread):
    """One lane's slots. `poke` from anywhere, at any time; `drain` stops claiming and ends what runs."""

    def __init__(
        self, context: WorkerContext, lane: Lane, live: LiveAttempts, run_task: RunTask, *, clear_hint: Callable[[Lane], None]
    ) -> None:
        super().__init__(name=f"engine-{lane}", daemon=True)
        self.lane = lane
        self._context = context
        self._live = live
        self._run_task = run_task
        self._clear_hint = clear_hint
        self._slots = max(1, context.settings.slots.get(lane, 1))
        self._pool = ThreadPoolExecutor(max_workers=self._slots * 4, thread_name_prefix=f"slot-{lane}")
        self._poked = threading.Event()
        self._draining = threading.Event()
        self._started_at: dict[int, float] = {}
        self._lock = threading.Lock()
        self.builds: Callable[[], None] | None = None  # the default lane also starts builds

    def poke(self) -> None:
        self._poked.set()

    def run(self) -> None:
        while not self._draining.is_set():
            self._poked.clear()
            try:
                if self.builds is not None:
                    self.builds()
                wait_seconds = self._claim_all()
            except SQLAlchemyError as error:
                log.warning("claim failed and is tried again: %s", str(error).splitlines()[0])
                wait_seconds = 1.0
            except Exception:  # an engine that died would leave its lane without a worker, and nobody would know
                log.exception("claim failed and is tried again")
                wait_seconds = 1.0
            self._poked.wait(wait_seconds)

    def drain(self, seconds: float) -> None:
        """Take nothing more; let what runs end for a while, then stop it so that another worker takes it over."""
        self._draining.set()
        self._poked.set()
        deadline = time.monotonic() + seconds
        while self._busy() and time.monotonic() < deadline:
            time.sleep(0.05)
        for live in self._live.all():
            live.stop(StopReason.DRAIN)
        self._pool.shutdown(wait=True)

    def _claim_all(self) -> float:
        """Claim until nothing more comes; returns how long to wait for the next poke."""
        while not self._draining.is_set():
            free = self._slots - self._counted()
            if free <= 0:
                return IDLE_LOOK_SECONDS
            self._clear_hint(self.lane)
            with self._context.database.transaction() as session:
                claimed = claims.claim(session, self._context.worker, self.lane, free, self._context.settings)
            for claim in claimed:
                self._context.probe("claimed", claim)
                self._start(claim)
            if len(claimed) < free:
                return IDLE_LOOK_SECONDS
        return 0.0

    def _start(self, claim: Claim) -> None:
        live = self._live.add(claim)
        key = id(live)
        with self._lock:
            self._started_at[key] = time.monotonic()
        self._pool.submit(self._run_slot, claim, live, key)

    def _run_slot(self, claim: Claim, live: LiveAttempt, key: int) -> None:
        try:
            self._run_task(self._context, claim, live)
        except Exception:
            log.exception("attempt %s of task %s ended without a report; its lease will run out", claim.number, claim.task_id)
        finally:
            self._live.remove(claim.token)
            with self._lock:
                self._started_at.pop(key, None)
            self.poke()
        self._release()

    def _release(self) -> None:
        """What this end has made room for, in any lane and on any node."""
        try:
            release(self._context.database, self._context.send)
        except SQLAlchemyError as error:
            log.warning("release failed, the sweep will see to it: %s", str(error).splitlines()[0])

    def _busy(self) -> int:
        with self._lock:
            return len(self._started_at)

    def _counted(self) -> int:
        """Slots in use; a task that has outlived its lane's limit counts with the longer lane and frees its slot here."""
        limit = LANE_LIMIT_SECONDS.get(self.lane)
        now = time.monotonic()
        with self._lock:
            young = sum(1 for started in self._started_at.values() if limit is None or now - started <= limit)
            room = self._slots * 4 - len(self._started_at)
        return max(young, self._slots - room)
