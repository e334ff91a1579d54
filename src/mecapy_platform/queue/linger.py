"""Hears hints from a list in the broker while a lane is busy, so that Celery carries only the step from idle to active.

While `linger_key` lives, senders push into `list_key` instead of sending a Celery message. Its time to live bounds what
a process that dies lingering can hold up.
"""

import math
import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from mecapy_platform.core.lanes import Lane
from mecapy_platform.queue.resp import Resp, command
from mecapy_platform.queue.sender import linger_key, list_key

BLOCK_SECONDS = 1.0
SAY_SECONDS = 0.5  # the key is said again so often; with BLOCK_SECONDS it is less than it lives
KEY_MILLISECONDS = 2500
RETRY_SECONDS = 0.25


class LingerBell:
    """One engine waits; anybody rings. `broken` is told when the broker does not answer."""

    def __init__(self, broker_url: str, lane: Lane, broken: Callable[[OSError], None]) -> None:
        self._url, self._broken = broker_url, broken
        self._linger = command("SET", linger_key(lane), "1", "PX", KEY_MILLISECONDS)
        self._pop = command("BLPOP", list_key(lane), BLOCK_SECONDS)
        self._leave = command("DEL", linger_key(lane))
        self._rung = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connection: Resp | None = None
        self._is_asked = False  # a BLPOP is under way
        self._retry_at = 0.0
        self._said_at = float("-inf")

    def ring(self) -> None:
        with suppress(OSError, BlockingIOError):
            os.eventfd_write(self._rung, 1)

    def wait(self, seconds: float, *, lingers: bool, deaf_seconds: float = 0.0) -> bool:
        deadline = time.monotonic() + seconds
        if deaf_seconds and _ready([self._rung], min(seconds, deaf_seconds)):
            self._clear()
            return False
        try:
            if lingers and time.monotonic() >= self._retry_at:
                self._ask()
            while (left := deadline - time.monotonic()) > 0:
                woken, hinted = self._heard(left)
                if woken:
                    return hinted
                if not lingers:
                    self._stop_lingering()
                    return True  # what was hinted between the last look into the list and now
                self._ask()
        except OSError as error:
            self._broken(error)
            self._forget()
            self._retry_at = time.monotonic() + RETRY_SECONDS
            _ready([self._rung], min(RETRY_SECONDS, deadline - time.monotonic()))
            self._clear()
        return False

    def close(self) -> None:
        with suppress(OSError):
            if self._connection is not None:
                self._connection.send(self._leave)
        self._forget()

    def _heard(self, seconds: float) -> tuple[bool, bool]:
        """Wait once: whether there is a reason to wake, and whether it is a hint.

        Neither: the list stayed empty for BLOCK_SECONDS.
        """
        connection = self._connection if self._is_asked else None
        if connection is None:
            if _ready([self._rung], seconds):
                self._clear()
            return True, False
        told = connection.fileno()
        # what was read together with the answer before it: no descriptor tells of it
        ready = [told] if connection.has_more else _ready([self._rung, told], seconds)
        is_rung = self._rung in ready
        if is_rung:
            self._clear()
        if told not in ready:
            return True, False
        self._is_asked = False
        hinted = connection.read() is not None
        return hinted or is_rung, hinted

    def _stop_lingering(self) -> None:
        if self._connection is not None:
            self._connection.ask(self._leave)
        self._said_at = float("-inf")

    def _ask(self) -> None:
        if self._is_asked:
            return
        if self._connection is None:
            self._connection = Resp(self._url)
        if time.monotonic() - self._said_at > SAY_SECONDS:
            self._connection.ask(self._linger)
            self._said_at = time.monotonic()
        self._connection.send(self._pop)
        self._is_asked = True

    def _clear(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._rung)

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._is_asked = None, False
        self._said_at = float("-inf")


def _ready(descriptors: Sequence[int], seconds: float) -> list[int]:
    """Those with something to read within so long; whatever their numbers, which `select` limits to 1023."""
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in waiting.poll(math.ceil(max(0.0, seconds) * 1000))]
