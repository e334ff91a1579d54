"""The bell.

It rings for its key, for everybody after a reconnect, and misses nothing that is read after registering.
"""

import asyncio
import time

import psycopg

from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.events.doorbell import Doorbell
from support.platform.services import postgres

LONG = 20.0


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


def ring(server: Postgres, key: str) -> None:
    with psycopg.connect(plain(server.worker_url), autocommit=True) as connection:
        connection.execute("SELECT pg_notify('mecapy_ended', %s)", (key,))


async def listening(server: Postgres) -> Doorbell:
    """A bell whose thread is connected: its first connection rings everybody."""
    bell = Doorbell(server.app_url)
    with bell.listening("start") as first:
        bell.start(asyncio.get_running_loop())
        await first.wait(LONG)
    return bell


def test_only_the_named_key_is_woken(server: Postgres) -> None:
    async def run() -> tuple[float, bool]:
        bell = await listening(server)
        try:
            with bell.listening("task:1") as mine, bell.listening("task:2") as other:
                started = time.monotonic()
                await asyncio.to_thread(ring, server, "task:1")
                await mine.wait(LONG)
                return time.monotonic() - started, other._event.is_set()
        finally:
            bell.stop()

    seconds, other_rang = asyncio.run(run())
    assert seconds < LONG / 2
    assert not other_rang


def test_what_rings_between_registering_and_waiting_is_heard(server: Postgres) -> None:
    async def run() -> float:
        bell = await listening(server)
        try:
            with bell.listening("task:3") as mine:
                await asyncio.to_thread(ring, server, "task:3")
                with bell.listening("task:4") as later:
                    await asyncio.to_thread(ring, server, "task:4")
                    await later.wait(LONG)  # by now the earlier one has been heard too
                started = time.monotonic()
                await mine.wait(LONG)
                return time.monotonic() - started
        finally:
            bell.stop()

    assert asyncio.run(run()) < 1


def test_a_lost_connection_wakes_everybody_once_it_is_back() -> None:
    async def run(server: Postgres) -> float:
        bell = await listening(server)
        try:
            with bell.listening("task:5") as one:
                started = time.monotonic()
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                await one.wait(LONG)
                return time.monotonic() - started
        finally:
            bell.stop()

    with postgres() as server:
        assert asyncio.run(run(server)) < LONG


def test_nobody_is_kept_after_leaving(server: Postgres) -> None:
    bell = Doorbell(server.app_url)
    with bell.listening("task:6"), bell.listening("task:6"):
        assert len(bell._rings["task:6"]) == 2
    assert bell._rings == {}
