"""Claims tasks for the free slots of one lane and runs each in a slot.

A hint, a wake_if_room slot or a slow clock wakes it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mecapy_platform.core.lanes import LANE_LIMIT_SECONDS, Lane
from mecapy_platform.core.living import LivingThread
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.db.fast_path import WORKER_STATEMENTS
from mecapy_platform.db.wire import Wire
from mecapy_platform.sandbox.base import Run, StopReason
from mecapy_platform.services import claims
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.worker.abilities import abilities_now
from mecapy_platform.worker.bell import Bell
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.finisher import Finisher
from mecapy_platform.worker.live import LiveAttempt, LiveAttempts
from mecapy_platform.worker.report import Report

log = logging.getLogger(__name__)
IDLE_LOOK_SECONDS = 10.0  # also without a hint: then a broker that is away costs seconds, not tasks
LINGER_SECONDS = 2.0  # after the last claim, hints are heard without Celery
LINGER_LOOK_SECONDS = 1.0
DEAF_SECONDS = 0.05  # a full lane passes hints on no faster than this; its own slots are filled as they become free

# None: it goes on without us. The run: where it has begun already
RunTask = Callable[[WorkerContext, Claim, LiveAttempt, Run | None], Report | None]
BeginAtOnce = Callable[[WorkerContext, Claim, LiveAttempt], Run | None]


class Engine(LivingThread):
    """One lane's slots.

    `poke` from anywhere, at any time. While `may_claim` says no, nothing is taken; who changes it pokes. To end it:
    `stop_claiming`, `wait_idle`, `close`.
    """

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
        may_claim: Callable[[], bool] = lambda: True,
        begin_at_once: BeginAtOnce = lambda _context, _claim, _live: None,
    ) -> None:
        super().__init__(f"engine-{lane}", self._claim_on)
        self.lane = lane
        self._context = context
        self._live = live
        self._run_task = run_task
        self._bell = bell
        self._finisher = finisher
        self._clear_hint = clear_hint
        self._pass_on = pass_on
        self._may_claim = may_claim
        self._begin_at_once = begin_at_once
        self._slots = max(1, context.settings.slots.get(lane, 1))
        self._pool = ThreadPoolExecutor(max_workers=self._slots * 4, thread_name_prefix=f"slot-{lane}")
        self._wire = Wire(context.settings.database_worker_url, WORKER_STATEMENTS)
        self.fast_claim = FastClaim(self._wire, context.database, context.worker, context.settings.queue_rules, lane)
        self._hinted = True  # a hint may have come before we were there
        self._draining = threading.Event()
        self._started_at: dict[int, float] = {}
        self._open: set[int] = set()
        self._reserved = 0
        self._is_full = False  # as the last look saw it; who frees a slot and does not fill it rings
        self._claimed_at = float("-inf")
        self._lock = threading.Lock()
        self.builds: Callable[[], None] | None = None  # the default lane also starts builds

    def poke(self) -> None:
        """Somebody says that there is work."""
        self._hinted = True
        self._bell.ring()

    def wake_if_room(self) -> None:
        """Room may be free, and there is work for it. What is only reserved is: its claim may have looked too early."""
        with self._lock:
            has_room = self._counted_now() - self._reserved < self._slots
        if has_room:
            self._bell.ring()

    def reserve(self, wanted: int) -> int:
        """Keep up to so many free slots for a claim that is on its way; `begin` gives them back."""
        with self._lock:
            return self._reserve_now(wanted)

    def packs_among(self, reserved: int) -> int:
        """How many of the slots that are kept for a claim may go to tasks that carry calls: never the lane's last."""
        if self._slots == 1:
            return reserved
        with self._lock:
            free = self._slots - (self._counted_now() - reserved)
        return max(0, min(reserved, free - 1))

    def begin(self, claims: Sequence[Claim], reserved: int = 0, *, is_recorded: bool = True) -> Sequence[LiveAttempt]:
        """Run them, each in a slot.

        Who says that they are not recorded calls `confirm_claims` once the claim is committed, or may be.
        """
        started = [self._live.add(claim, is_recorded=is_recorded) for claim in claims]
        now = time.monotonic()
        with self._lock:
            self._reserved -= reserved
            for live in started:
                self._started_at[id(live)] = now
                self._open.add(id(live))
            has_room = self._is_full and self._counted_now() < self._slots
        if claims:
            self._claimed_at = now
        if has_room:
            self._is_full = False
            self._bell.ring()  # hints are to be heard again
        for live in started:
            begun = self._begun(live)
            try:
                self._pool.submit(self._run_slot, live, begun)
            except RuntimeError as error:  # shut down meanwhile: the lease runs out, another worker takes it
                if begun is not None:
                    begun.close()
                log.warning("attempt %s of task %s is not begun: %s", live.claim.number, live.claim.task_id, error)
                self._live.remove(live.claim.token)
                with self._lock:
                    self._started_at.pop(id(live), None)
                    self._open.discard(id(live))
        if is_recorded:
            self.confirm_claims(started, is_committed=True)
        return started

    def confirm_claims(self, started: Sequence[LiveAttempt], *, is_committed: bool) -> None:
        """Their claim is committed; or nobody knows, and they are stopped.

        No row may speak for them, and another may run the same.
        """
        for live in started:
            if not is_committed:
                live.stop(StopReason.LEASE_LOST)
            live.recorded.set()
            if is_committed:
                self._context.probe("claimed", live.claim)

    def _claim_on(self) -> None:
        hinted = False
        while not self._draining.is_set():
            self._is_full = False
            try:
                self.fast_claim.give_back_unread()
                wait_seconds = self._look(hinted=hinted)
            except DatabaseError as error:
                log.warning("claim failed and is tried again: %s", error.detail)
                wait_seconds = 1.0
            lingers = time.monotonic() - self._claimed_at < LINGER_SECONDS
            deaf_seconds = DEAF_SECONDS if self._is_full else 0.0
            hinted = self._bell.wait(
                min(wait_seconds, LINGER_LOOK_SECONDS) if lingers else wait_seconds,
                lingers=lingers,
                deaf_seconds=deaf_seconds,
            )

    def stop_claiming(self) -> None:
        """Take nothing more."""
        self._draining.set()
        self._bell.ring()
        self.hurry()

    def wait_idle(self, deadline: float) -> None:
        """Until what runs has ended, or the monotonic clock says `deadline`."""
        while self._busy() and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        """Wait for the slots, whose runs have ended or have been stopped, and leave nothing behind."""
        self._pool.shutdown(wait=True)
        self._bell.close()
        self._wire.close()

    def _look(self, *, hinted: bool) -> float:
        """Claim until nothing more comes; returns how long to wait for the next ring."""
        hinted = hinted or self._hinted
        if not self._may_claim():
            if hinted:
                self._hinted = False
                self._pass_on([self.lane])  # for a worker of another node
            return IDLE_LOOK_SECONDS
        if self._hinted or time.monotonic() - self._claimed_at > LINGER_SECONDS:
            self._hinted = False
            if self.builds is not None:
                self.builds()
            self._clear_hint(
                self.lane
            )  # before the claim: a commit either precedes this and is seen, or sends a hint of its own
        while not self._draining.is_set():
            free = self._reserve_all()
            if free == 0:
                if hinted:
                    self._pass_on([self.lane])  # the hint was for whoever has a free slot
                return IDLE_LOOK_SECONDS
            if self._claim(free) < free:
                return IDLE_LOOK_SECONDS
        return 0.0

    def _reserve_all(self) -> int:
        """Every free slot; with none, whoever frees one without filling it is to ring."""
        with self._lock:
            free = self._reserve_now(self._slots)
            self._is_full = free == 0
        return free

    def _claim(self, free: int) -> int:
        """Take up to as many tasks as slots are reserved, and run them: how many.

        A task starts while its claim is being committed.
        """
        started: Sequence[LiveAttempt] = ()
        is_committed = False
        try:
            packs = self.packs_among(free)
            with self.fast_claim.claim(free, packs) as claimed:
                if claimed is not None:
                    started, free = self.begin(claimed, free, is_recorded=False), 0
            if claimed is not None:
                is_committed = True
                return len(started)
            with self._context.database.transaction() as session:
                abilities, _away = abilities_now(self._context)
                worker = replace(self._context.worker, abilities=frozenset(abilities))
                rules = self._context.settings.queue_rules
                claimed = claims.claim(session, worker, self.lane, free, rules, packs=packs)
            reserved, free = free, 0
            return len(self.begin(claimed, reserved))
        finally:
            self.begin((), free)
            self.confirm_claims(started, is_committed=is_committed)

    def _begun(self, live: LiveAttempt) -> Run | None:
        """Its run, where everything is ready for it: then a slot's thread need not wake before it runs."""
        try:
            return self._begin_at_once(self._context, live.claim, live)
        except Exception:
            log.exception("attempt %s of task %s is begun by its slot", live.claim.number, live.claim.task_id)
            return None

    def _run_slot(self, live: LiveAttempt, begun: Run | None) -> None:
        claim, key = live.claim, id(live)

        def done() -> None:
            self._live.remove(claim.token)
            with self._lock:
                self._open.discard(key)

        report = None
        try:
            report = self._run_task(self._context, claim, live, begun)
        except Exception:
            log.exception(
                "attempt %s of task %s ended without a report; its lease will run out", claim.number, claim.task_id
            )
        live.recorded.wait()
        with self._lock:
            self._started_at.pop(key, None)
        if report is None:
            done()
            self.wake_if_room()
        else:
            self._finisher.offer(report, done, self)

    def _busy(self) -> int:
        with self._lock:
            return len(self._open) + self._reserved

    def _reserve_now(self, wanted: int) -> int:
        kept = (
            0
            if self._draining.is_set() or not self._may_claim()
            else max(0, min(wanted, self._slots - self._counted_now()))
        )
        self._reserved += kept
        return kept

    def _counted_now(self) -> int:
        """Slots in use.

        A task that has outlived its lane's limit counts with the longer lane and frees its slot here.
        """
        limit = LANE_LIMIT_SECONDS.get(self.lane)
        now = time.monotonic()
        young = sum(1 for started in self._started_at.values() if limit is None or now - started <= limit)
        room = self._slots * 4 - len(self._started_at)
        return max(young, self._slots - room) + self._reserved
