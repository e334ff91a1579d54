"""Prepared statements straight over libpq: what is asked when the connection is lost is told so, and the next question is answered."""

import asyncio
import socket
from collections.abc import Iterator

import psycopg
import pytest

from mecapy_platform.db.gate import Gate
from mecapy_platform.db.wire import AsyncWire
from services import postgres

STATEMENTS = {"slowly": "SELECT value::text, pg_sleep((value::float8) / 1000)::text FROM json_array_elements_text($1::json) AS value"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres() as running:
        yield running.owner_url


def make_gate(wire: AsyncWire) -> Gate[str]:
    return Gate(
        wire,
        "slowly",
        write=lambda questions: [question["milliseconds"] for question in questions],
        read=lambda _questions, rows: [None if row[0] is None else row[0].decode() for row in rows],
    )


@pytest.mark.parametrize("how", ["cut", "terminated"])
def test_a_lost_connection_fails_its_questions_and_the_next_one_is_answered(url: str, how: str) -> None:
    async def ask() -> tuple[BaseException | str | None, str | None]:
        wire = AsyncWire(url, STATEMENTS)
        gate = make_gate(wire)
        assert await gate.ask({"milliseconds": 1}) == "1"
        asked = asyncio.ensure_future(gate.ask({"milliseconds": 20_000}))
        await asyncio.sleep(0.05)
        connection = wire._connection
        assert connection is not None
        if how == "cut":
            with socket.socket(fileno=connection.socket) as ours:
                ours.shutdown(socket.SHUT_RDWR)
                ours.detach()
        else:
            async with await psycopg.AsyncConnection.connect(url.replace("+psycopg", ""), autocommit=True) as other:
                await other.execute("SELECT pg_terminate_backend(%s)", [connection.backend_pid])
        lost = (await asyncio.wait_for(asyncio.gather(asked, return_exceptions=True), 10))[0]
        again = await asyncio.wait_for(gate.ask({"milliseconds": 2}), 10)
        await gate.close()
        return lost, again

    lost, again = asyncio.run(ask())
    assert isinstance(lost, psycopg.OperationalError)
    assert again == "2"
