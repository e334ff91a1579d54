"""The parts of a worker process and how they hang together: engines, heartbeat, self-tests, finisher, adopter.

How hints come is not known here; see worker/main for that.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mecapy_platform.core.lanes import Lane
from mecapy_platform.sandbox.base import Sandbox, StopReason
from mecapy_platform.services.release import Sender
from mecapy_platform.worker.adopter import Adopter
from mecapy_platform.worker.advancer import Advancer
from mecapy_platform.worker.bell import Bell
from mecapy_platform.worker.builder import Builder
from mecapy_platform.worker.capacity import capacity_of
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.engine import Engine
from mecapy_platform.worker.finisher import Finisher
from mecapy_platform.worker.handshake import Handshake
from mecapy_platform.worker.heartbeat import Heartbeat, disk_refusal
from mecapy_platform.worker.live import LiveAttempts
from mecapy_platform.worker.readiness import Readiness
from mecapy_platform.worker.run_calls import run_claim
from mecapy_platform.worker.run_task import begin_at_once, resume_task

PASS_ON_SECONDS = 0.25


class WorkerProcess:
    """`start`, then `poke` at every hint, then `close`, which drains."""

    def __init__(
        self,
        context: WorkerContext,
        lanes: Sequence[Lane],
        *,
        bell: Callable[[Lane], Bell],
        clear_hint: Callable[[Lane], None],
    ) -> None:
        self.readiness = Readiness(context.sandboxes(), context.worker.node, self._changed)
        self.live = LiveAttempts()
        self._context = context = replace(context, care=self.readiness)
        self._lanes = lanes
        capacity = capacity_of(context.settings, context.sandbox)
        self._handshake = Handshake(context.database, self.poke)
        self._heartbeat = Heartbeat(context, self.live, capacity, self.refusal, lanes, self._handshake)
        self._pass_on = pass_on(context.send)  # the same for all: a lane is passed on by whoever notices first
        self._advancer = Advancer(context, self._made)
        self._finisher = Finisher(context, self._ring, self._pass_on, self._advancer.hear)
        self._engines = [self._engine(lane, bell(lane), clear_hint) for lane in lanes]
        self._adopter = Adopter(context, lanes, self.live, resume_task) if context.durable_sandboxes() else None

    def start(self) -> None:
        self._heartbeat.start()
        self.readiness.start()
        self._advancer.start()
        if self._adopter is not None:
            self._adopter.start()
        for engine in self._engines:
            engine.start()

    def poke(self) -> None:
        """Somebody says that there is work."""
        for engine in self._engines:
            engine.poke()

    def refusal(self) -> str | None:
        """Why this process takes no work now; None when a lane of it does."""
        return self._handshake.refusal or refusal_of(self._context, self._lanes, self.readiness)

    def close(self) -> None:
        """Running tasks get `drain_seconds`; what is left starts again on another worker."""
        self.readiness.end()
        drain(self._engines, self.live, self._context.settings.drain_seconds)
        if self._adopter is not None:
            self._adopter.end()
        self._finisher.close()
        self._advancer.end()
        self._heartbeat.end()

    def _engine(self, lane: Lane, bell: Bell, clear_hint: Callable[[Lane], None]) -> Engine:
        context = self._context
        may_claim = partial(self._may_claim, context.sandbox_of(lane))
        engine = Engine(
            context,
            lane,
            self.live,
            run_claim,
            bell=bell,
            finisher=self._finisher,
            clear_hint=clear_hint,
            pass_on=self._pass_on,
            may_claim=may_claim,
            begin_at_once=begin_at_once,
        )
        if lane is Lane.DEFAULT:  # builds ride in it
            engine.builds = Builder(context, partial(self._may_claim, context.sandbox)).look
        return engine

    def _may_claim(self, sandbox: Sandbox) -> bool:
        is_served = self._handshake.refusal is None
        return is_served and holds(self.readiness, sandbox) and disk_refusal(self._context) is None

    def _changed(self) -> None:
        self._heartbeat.soon()
        self.poke()

    def _made(self, lanes: Sequence[Lane]) -> None:
        """Tasks were made in these lanes: whoever is served here looks at once, others are told."""
        self._ring(lanes)
        self._pass_on([lane for lane in lanes if lane in self._lanes])
        if elsewhere := [lane for lane in lanes if lane not in self._lanes]:
            self._context.send(elsewhere)

    def _ring(self, found: Sequence[Lane]) -> None:
        for engine in self._engines:
            if engine.lane in found:
                engine.wake_if_room()


def drain(engines: Sequence[Engine], live: LiveAttempts, seconds: float) -> None:
    """No lane takes anything more; what runs may end for a while, then it is stopped, so that others take it over."""
    for engine in engines:
        engine.stop_claiming()
    deadline = time.monotonic() + seconds
    for engine in engines:
        engine.wait_idle(deadline)
    live.stop([attempt.claim.token for attempt in live.all()], StopReason.DRAIN)
    for engine in engines:
        engine.close()


def refusal_of(context: WorkerContext, lanes: Sequence[Lane], readiness: Readiness) -> str | None:
    """Why a worker of these lanes takes no work now; None when a lane of it does."""
    refusals = [readiness.refusal_of(context.sandbox_of(lane)) for lane in lanes]
    return None if None in refusals else next(iter(refusals), None)


def holds(readiness: Readiness, sandbox: Sandbox) -> bool:
    return readiness.refusal_of(sandbox) is None


def pass_on(send: Sender) -> Callable[[Sequence[Lane]], None]:
    """Tells others of lanes that have work, each lane only now and then.

    Also of work that nobody has room for, for long.
    """
    told_at: dict[Lane, float] = {}

    def tell(lanes: Sequence[Lane]) -> None:
        now = time.monotonic()
        due = [lane for lane in lanes if now - told_at.get(lane, float("-inf")) >= PASS_ON_SECONDS]
        told_at.update(dict.fromkeys(due, now))
        if due:
            send(due)

    return tell
