"""Wakes waiting requests the moment a task or a build ends. A hint like any other: who is woken reads the database again."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

log = logging.getLogger(__name__)
CHANNEL = "mecapy_ended"
LISTEN_SECONDS = 5.0
BACKOFF_MAX_SECONDS = 2.0


class Ring:
    """One waiting request: set when something it waits for may have happened."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return when rung or after `seconds`; either way the caller reads the state again."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class Doorbell:
    """One thread with one connection that listens; any number of requests that wait without a thread or a session."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url.replace("postgresql+psycopg:", "postgresql:", 1)
        self._rings: dict[str, set[Ring]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stop.clear()
        self._thread = threading.Thread(target=self._listen, name="doorbell", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it is a daemon and ends within its listening step."""
        self._stop.set()

    @contextmanager
    def listening(self, key: str) -> Iterator[Ring]:
        """Register for `task:<id>` or `version:<id>`. Register first, read the state then: so no end is missed."""
        ring = Ring()
        self._rings.setdefault(key, set()).add(ring)
        try:
            yield ring
        finally:
            waiting = self._rings[key]
            waiting.discard(ring)
            if not waiting:
                del self._rings[key]

    def _listen(self) -> None:
        wait_seconds = 0.05
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5, application_name="mecapy-doorbell") as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    wait_seconds = 0.05
                    self._tell(None)
                    self._hear(connection)
            except psycopg.Error as error:
                log.warning("doorbell lost its connection: %s", str(error).splitlines()[0] if str(error) else type(error).__name__)
                self._stop.wait(wait_seconds)
                wait_seconds = min(BACKOFF_MAX_SECONDS, wait_seconds * 2)

    def _hear(self, connection: psycopg.Connection) -> None:
        while not self._stop.is_set():
            for notice in connection.notifies(timeout=LISTEN_SECONDS):
                self._tell(notice.payload)
                if self._stop.is_set():
                    return
            connection.execute("SELECT 1")  # a connection that died silently shows here

    def _tell(self, key: str | None) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._ring, key)
        except RuntimeError:  # the loop has closed: the process ends
            self._stop.set()

    def _ring(self, key: str | None) -> None:
        """A payload names one key or several. None, after a reconnect: wake everybody, as anything may have ended meanwhile."""
        for one in tuple(self._rings) if key is None else key.split(","):
            for ring in tuple(self._rings.get(one, ())):
                ring.ring()
