"""A worker process: Celery brings hints, one engine per lane runs tasks, a heartbeat keeps leases.

It tests its own confinement first and takes no work, saying why, while that does not hold.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from celery import Celery
from celery.signals import worker_shutting_down
from redis.exceptions import RedisError

from mecapy_platform.core.lanes import Lane
from mecapy_platform.queue.celery_app import POKE, make_app
from mecapy_platform.queue.linger import LingerBell
from mecapy_platform.queue.sender import connect, flag_key
from mecapy_platform.sandbox.base import Sandbox, StopReason
from mecapy_platform.services.release import Sender
from mecapy_platform.worker.adopter import Adopter
from mecapy_platform.worker.builder import Builder
from mecapy_platform.worker.capacity import capacity_of
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.engine import Engine
from mecapy_platform.worker.finisher import Finisher
from mecapy_platform.worker.heartbeat import Heartbeat
from mecapy_platform.worker.live import LiveAttempts
from mecapy_platform.worker.readiness import Readiness
from mecapy_platform.worker.run_task import resume_task, run_task

log = logging.getLogger(__name__)
PASS_ON_SECONDS = 0.25


def serve(context: WorkerContext, lanes: Sequence[Lane]) -> None:
    """Run until SIGTERM, then drain: running tasks get `drain_seconds`, what is left starts again on another worker."""
    live = LiveAttempts()
    engines: list[Engine] = []

    def changed() -> None:
        heartbeat.soon()
        for engine in engines:
            engine.poke()

    readiness = Readiness(context.sandboxes(), context.worker.node, changed)
    context = replace(context, care=readiness)
    heartbeat = Heartbeat(context, live, capacity_of(context.settings), lambda: refusal_of(context, lanes, readiness))

    def ring(found: Sequence[Lane]) -> None:
        for engine in engines:
            if engine.lane in found:
                engine.wake_if_room()

    finisher = Finisher(context, ring, pass_on(context.send))
    engines += _engines(context, lanes, live, finisher, readiness)
    adopter = Adopter(context, lanes, live, resume_task) if context.durable_sandboxes() else None
    heartbeat.start()
    readiness.start()
    if adopter is not None:
        adopter.start()
    for engine in engines:
        engine.start()
    app = _celery(context, engines)
    try:
        _consume(app, context, lanes)
    finally:
        readiness.end()
        drain(engines, live, context.settings.drain_seconds)
        if adopter is not None:
            adopter.end()
        finisher.close()
        heartbeat.end()
        context.database.dispose()


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
    """Why this worker takes no work now; None when a lane of it does."""
    refusals = [readiness.refusal_of(context.sandbox_of(lane)) for lane in lanes]
    return None if None in refusals else next(iter(refusals), None)


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


def _engines(
    context: WorkerContext, lanes: Sequence[Lane], live: LiveAttempts, finisher: Finisher, readiness: Readiness
) -> list[Engine]:
    redis = connect(context.settings.broker_url)

    def clear_hint(lane: Lane) -> None:
        try:
            redis.delete(flag_key(lane))
        except (RedisError, OSError) as error:
            log.info("hint flag of %s not cleared, it expires by itself: %s", lane, error)

    def broken(error: OSError) -> None:
        log.info("hints come by Celery alone: %s", error)

    engines = [
        Engine(
            context,
            lane,
            live,
            run_task,
            bell=LingerBell(context.settings.broker_url, lane, broken),
            finisher=finisher,
            clear_hint=clear_hint,
            pass_on=pass_on(context.send),
            may_claim=partial(_holds, readiness, context.sandbox_of(lane)),
        )
        for lane in lanes
    ]
    for engine in engines:
        if engine.lane is Lane.DEFAULT:
            engine.builds = Builder(context, partial(_holds, readiness, context.sandbox)).look
    return engines


def _holds(readiness: Readiness, sandbox: Sandbox) -> bool:
    return readiness.refusal_of(sandbox) is None


def _celery(context: WorkerContext, engines: Sequence[Engine]) -> Celery:
    app = make_app(context.settings.broker_url)

    def poke() -> None:
        for engine in engines:
            engine.poke()

    app.task(name=POKE, ignore_result=True)(poke)
    return app


def _consume(app: Celery, context: WorkerContext, lanes: Sequence[Lane]) -> None:
    """Block in Celery's consumer. `solo`: a hint only sets an event, so no pool is needed."""
    worker = app.Worker(
        pool="solo",
        concurrency=1,
        queues=",".join(lanes),
        hostname=f"{'-'.join(lanes)}@{context.worker.process}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        redirect_stdouts=False,
    )

    def stopping(**_: object) -> None:
        log.info("asked to stop: no new task is taken")

    worker_shutting_down.connect(stopping, weak=False)
    worker.start()
    log.info("consumer ended with code %s, pid %s", worker.exitcode, os.getpid())
