"""A worker process as the platform runs it: Celery brings hints to the parts of worker/process."""

import logging
import os
from collections.abc import Callable, Sequence

from celery import Celery
from celery.signals import worker_shutting_down
from redis.exceptions import RedisError

from mecapy_platform.core.lanes import Lane
from mecapy_platform.queue.celery_app import POKE, make_app
from mecapy_platform.queue.linger import LingerBell
from mecapy_platform.queue.sender import connect, flag_key
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.process import WorkerProcess

log = logging.getLogger(__name__)


def serve(context: WorkerContext, lanes: Sequence[Lane]) -> None:
    """Run until SIGTERM, then drain."""
    url = context.settings.broker_url

    def broken(error: OSError) -> None:
        log.info("hints come by Celery alone: %s", error)

    process = WorkerProcess(
        context, lanes, bell=lambda lane: LingerBell(url, lane, broken), clear_hint=_clear_hint(url)
    )
    process.start()
    try:
        _consume(_celery(url, process.poke), context, lanes)
    finally:
        process.close()
        context.database.dispose()


def _clear_hint(broker_url: str) -> Callable[[Lane], None]:
    redis = connect(broker_url)

    def clear(lane: Lane) -> None:
        try:
            redis.delete(flag_key(lane))
        except (RedisError, OSError) as error:
            log.info("hint flag of %s not cleared, it expires by itself: %s", lane, error)

    return clear


def _celery(broker_url: str, poke: Callable[[], None]) -> Celery:
    app = make_app(broker_url)
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
