"""Wakes waiting requests the moment a task or a build ends.

A hint like any other: who is woken reads the database again.

Where the end of a task is small, it comes with the ring. It was committed, but nobody has judged who may read it: it is
for the request that has just submitted the task, and for no other.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

log = logging.getLogger(__name__)
CHANNEL = "mecapy_ended"
BACKOFF_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 2.0
KEEPALIVE: dict[str, Any] = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


class Ring:
    """One waiting request: set when something it waits for may have happened."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.end_notice: str | None = None  # JSON of how the task ended, see mecapy_finish

    def ring(self, end_notice: str | None) -> None:
        self.end_notice = end_notice or self.end_notice
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return when rung or after `seconds`; either way the caller reads the state again, unless it was told."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class Doorbell:
    """One connection that listens, inside the event loop.

    Any number of requests that wait without a thread or a session.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url.replace("postgresql+psycopg:", "postgresql:", 1)
        self._rings: dict[str, set[Ring]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._listen())

    def stop(self) -> None:
        """Stop listening. Who waits looks now and then all the same."""
        if self._task is not None:
            self._task.cancel()

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

    async def _listen(self) -> None:
        wait_seconds = BACKOFF_SECONDS
        while True:
            try:
                connection = await asyncio.to_thread(self._connect)
            except psycopg.Error as error:
                log.warning("doorbell cannot connect: %s", _first_line(error))
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(BACKOFF_MAX_SECONDS, wait_seconds * 2)
                continue
            wait_seconds = BACKOFF_SECONDS
            with closing(connection):
                self._ring(None)
                await self._hear(connection)

    def _connect(self) -> psycopg.Connection:
        """A connection that died silently is noticed by the kernel."""
        connection = psycopg.connect(
            self._url, autocommit=True, connect_timeout=5, application_name="mecapy-doorbell", **KEEPALIVE
        )
        try:
            connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error:
            connection.close()
            raise
        return connection

    async def _hear(self, connection: psycopg.Connection) -> None:
        """Ring whenever the connection has something, until it is lost."""
        loop, lost = asyncio.get_running_loop(), asyncio.Event()
        pgconn, descriptor = connection.pgconn, connection.fileno()

        def readable() -> None:
            try:
                pgconn.consume_input()
                while (notice := pgconn.notifies()) is not None:
                    self._ring(notice.extra.decode())
            except psycopg.Error as error:
                log.warning("doorbell lost its connection: %s", _first_line(error))
                loop.remove_reader(descriptor)
                lost.set()

        loop.add_reader(descriptor, readable)
        try:
            readable()  # what came with the answer to LISTEN
            await lost.wait()
        finally:
            loop.remove_reader(descriptor)

    def _ring(self, key: str | None) -> None:
        """A payload is a key, and behind a space what is told of it.

        None, after a reconnect: wake everybody, anything may have ended.
        """
        name, _, end_notice = (key or "").partition(" ")
        for item in tuple(self._rings) if key is None else (name,):
            for ring in tuple(self._rings.get(item, ())):
                ring.ring(end_notice or None)


def _first_line(error: psycopg.Error) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
