"""Keeps leases alive, hears cancellations, tells what the node has. One thread per worker process."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from uuid import UUID

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.living import LivingThread
from mecapy_platform.db import queue
from mecapy_platform.db.errors import DatabaseAwayError, DatabaseError
from mecapy_platform.sandbox.base import StopReason
from mecapy_platform.services import claims
from mecapy_platform.worker.abilities import abilities_now, abilities_of
from mecapy_platform.worker.capacity import Capacity
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.handshake import Handshake
from mecapy_platform.worker.live import LiveAttempts

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0


class Heartbeat(LivingThread):
    """Every second: cancellations. Every `heartbeat_seconds`, and when `soon` is called: leases and the node's row.

    `refusal` says why this process takes no work, None when it does.
    """

    def __init__(
        self,
        context: WorkerContext,
        live: LiveAttempts,
        capacity: Capacity,
        refusal: Callable[[], str | None],
        lanes: Sequence[Lane] = (),
        handshake: Handshake | None = None,
    ) -> None:
        super().__init__("heartbeat", self._beat_on)
        self._context = context
        self._live = live
        self._capacity = capacity
        self._ended = False
        self._wake = threading.Event()
        self._renew_at = 0.0
        self._refusal = refusal
        self._lanes = lanes
        self._handshake = handshake or Handshake(context.database)

    def soon(self) -> None:
        """Something that the node's row tells has changed."""
        self._renew_at = 0.0
        self._wake.set()

    def _beat_on(self) -> None:
        while not self._ended:
            self._wake.clear()
            try:
                self._beat_if_due()
                self._hear_cancellations()
            except DatabaseError as error:
                log.warning("heartbeat failed and is tried again: %s", error.detail)
            self._wake.wait(LOOK_SECONDS)

    def _beat_if_due(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + self._context.settings.heartbeat_seconds
        try:
            self.beat()
        except BaseException:
            self._renew_at = 0.0
            raise

    def beat(self) -> None:
        """Renew leases; what was taken from us is stopped, for its work no longer counts."""
        self._handshake.ask()
        ours = [live.claim.token for live in self._live.recorded()]
        self._tell()
        with (
            self._context.database.transaction() as session
        ):  # apart: an end locks its attempt first and its claim the node then
            kept: set[UUID] = claims.renew(session, ours, self._context.settings.queue_rules) if ours else set()
        still = {live.claim.token for live in self._live.all()}
        self._live.stop((set(ours) - kept) & still, StopReason.LEASE_LOST)

    def _tell(self) -> None:
        """The rows of node and process; those of a database of another version may look otherwise."""
        try:
            with self._context.database.transaction() as session:
                session.execute(queue.SEE_NODE, self._node())
                session.execute(queue.SEE_WORKER, self._worker())
        except DatabaseAwayError:
            raise
        except DatabaseError:
            if self._handshake.refusal is None:
                raise

    def end(self) -> None:
        """The process takes nothing more: its row goes with it."""
        self._ended = True
        self._wake.set()
        self.hurry()
        worker = self._context.worker
        try:
            with self._context.database.transaction() as session:
                session.execute(queue.FORGET_WORKERS, {"name": worker.process, "node": worker.node})
        except Exception:
            log.exception("the row of this process stays until it is old")

    def _hear_cancellations(self) -> None:
        running = [live.claim.task_id for live in self._live.all() if live.stop_reason is None]
        if not running:
            return
        with self._context.database.transaction() as session:
            tokens = claims.cancelled(session, running)
            carriers = [live.claim.task_id for live in self._live.all() if live.claim.calls is not None]
            calls = claims.cancelled_calls(session, carriers) if carriers else {}
        self._live.stop(tokens, StopReason.CANCELLED)
        for live in self._live.all():
            if live.claim.task_id in calls:
                live.cancel_calls(calls[live.claim.task_id])

    def _node(self) -> dict[str, object]:
        """What the machine has, which all its processes tell alike; `accepts_work` is for those of earlier versions."""
        return {
            "name": self._context.worker.node,
            "cpu": self._capacity.cpu,
            "memory_mb": self._capacity.memory_mb,
            "disk_free_bytes": shutil.disk_usage(self._context.work_dir).free,
            "accepts_work": True,
            "refusal": None,
            "tools": json.dumps(abilities_of(self._context)),
        }

    def _worker(self) -> dict[str, object]:
        """What this process can do, and why it takes no work just now: nobody else writes that."""
        worker, refusal, room = self._context.worker, self._refusal(), disk_refusal(self._context)
        other = self._handshake.refusal
        abilities, away = abilities_now(self._context)
        said = {"version_not_served": other, "sandbox_refused": refusal, "disk_floor": room}
        code = next((code for code, why in said.items() if why is not None), None)
        return {
            "name": worker.process,
            "node": worker.node,
            "lane": self._lanes[0] if len(self._lanes) == 1 else None,
            "backend": worker.backend,
            "abilities": abilities,
            "away": away,
            "accepts_work": code is None,
            "refusal_code": code,
            "refusal": None if code is None else said[code],
            "software_version": version("mecapy-platform"),
        }


def disk_refusal(context: WorkerContext) -> str | None:
    """Why nothing is taken while the disk is nearly full, or the folder for it is gone."""
    floor = context.settings.disk_floor_bytes
    try:
        free = shutil.disk_usage(context.work_dir).free
    except OSError as error:
        return f"The work folder of this process cannot be read: {error.strerror}; start the worker again."
    if free >= floor:
        return None
    return f"Only {free >> 20} MiB of disk are free, the floor is {floor >> 20} MiB; make space and work goes on."
