"""Keeps leases alive, hears cancellations, tells what the node has. One thread per worker process."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from uuid import UUID

from mecapy_platform.core.living import LivingThread
from mecapy_platform.db import queue
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.sandbox.base import StopReason
from mecapy_platform.services import claims
from mecapy_platform.worker.abilities import abilities_of
from mecapy_platform.worker.capacity import Capacity
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.live import LiveAttempts

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0


class Heartbeat(LivingThread):
    """Every second: cancellations. Every `heartbeat_seconds`, and when `soon` is called: leases and the node's row.

    `refusal` says why this process takes no work, None when it does.
    """

    def __init__(
        self, context: WorkerContext, live: LiveAttempts, capacity: Capacity, refusal: Callable[[], str | None]
    ) -> None:
        super().__init__("heartbeat", self._beat_on)
        self._context = context
        self._live = live
        self._capacity = capacity
        self._ended = False
        self._wake = threading.Event()
        self._renew_at = 0.0
        self._refusal = refusal
        self._abilities = json.dumps(abilities_of(context))

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
        ours = [live.claim.token for live in self._live.recorded()]
        with self._context.database.transaction() as session:
            session.execute(queue.SEE_NODE, self._node())
        with (
            self._context.database.transaction() as session
        ):  # apart: an end locks its attempt first and its claim the node then
            kept: set[UUID] = claims.renew(session, ours, self._context.settings) if ours else set()
        still = {live.claim.token for live in self._live.all()}
        self._live.stop((set(ours) - kept) & still, StopReason.LEASE_LOST)

    def end(self) -> None:
        self._ended = True
        self._wake.set()
        self.hurry()

    def _hear_cancellations(self) -> None:
        running = [live.claim.task_id for live in self._live.all() if live.stop_reason is None]
        if not running:
            return
        with self._context.database.transaction() as session:
            tokens = claims.cancelled(session, running)
        self._live.stop(tokens, StopReason.CANCELLED)

    def _node(self) -> dict[str, object]:
        free = shutil.disk_usage(self._context.work_dir).free
        floor = self._context.settings.disk_floor_bytes
        refusal = self._refusal()
        if refusal is None and free < floor:
            refusal = (
                f"Only {free >> 20} MiB of disk are free, the floor is {floor >> 20} MiB; make space and work goes on."
            )
        return {
            "name": self._context.worker.node,
            "cpu": self._capacity.cpu,
            "memory_mb": self._capacity.memory_mb,
            "disk_free_bytes": free,
            "accepts_work": refusal is None,
            "refusal": refusal,
            "tools": self._abilities,
        }
