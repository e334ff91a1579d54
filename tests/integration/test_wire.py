"""Prepared statements straight over libpq.

What is asked when the connection is lost is told so, and the next question is answered.
"""

import asyncio
import socket
import threading

import psycopg
import pytest

from mecapy_platform.db.errors import DatabaseAwayError, RowConflictError, ValueNotStorableError
from mecapy_platform.db.statement_batcher import StatementBatcher
from mecapy_platform.db.wire import AsyncWire, Wire
from mecapy_platform.embedded.postgres import Postgres

STATEMENTS = {
    "slowly": (
        "SELECT value::text, pg_sleep((value::float8) / 1000)::text FROM json_array_elements_text($1::json) AS value"
    )
}


@pytest.fixture(scope="module")
def url(server: Postgres) -> str:
    return server.owner_url


def make_gate(wire: AsyncWire) -> StatementBatcher[str]:
    return StatementBatcher(
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
    assert isinstance(lost, DatabaseAwayError)
    assert again == "2"


def test_a_question_larger_than_the_socket_s_buffer_is_sent_whole(url: str) -> None:
    async def ask() -> str | None:
        gate = StatementBatcher[str](
            AsyncWire(url, {"length": "SELECT length($1)::text"}),
            "length",
            write=lambda questions: [question["text"] for question in questions],
            read=lambda _questions, rows: [None if row[0] is None else row[0].decode() for row in rows],
        )
        answer = await asyncio.wait_for(gate.ask({"text": "x" * 8_000_000}), 30)
        await gate.close()
        return answer

    assert asyncio.run(ask()) == "8000004"


def test_large_parameters_reach_a_statement_that_answers_early(url: str) -> None:
    wire = Wire(url, {"length": "SELECT length($1)::text"})
    with wire.rows_before_commit("length", b"x" * 8_000_000) as rows:
        assert rows == [(b"8000000",)]
    assert wire.call("length", b"x") == [(b"1",)]
    wire.close()


def test_a_statement_that_fails_early_leaves_the_wire_usable(url: str) -> None:
    wire = Wire(url, {"number": "SELECT $1::int::text"})
    with pytest.raises(ValueNotStorableError), wire.rows_before_commit("number", b"seven"):
        pytest.fail("there were no rows")
    with wire.rows_before_commit("number", b"7") as rows:
        assert rows == [(b"7",)]
    wire.close()


def test_a_commit_that_fails_is_told_when_the_block_is_left(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as session:
        session.execute("CREATE TABLE parents (id int PRIMARY KEY)")
        session.execute("CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
    wire = Wire(url, {"adopt": "INSERT INTO children VALUES ($1::int) RETURNING parent::text"})
    seen = []
    with pytest.raises(RowConflictError), wire.rows_before_commit("adopt", b"1") as rows:
        seen += rows
    assert seen == [(b"1",)]
    wire.close()


def test_a_connection_lost_before_the_commit_is_told_and_the_next_statement_is_answered(url: str) -> None:
    wire = Wire(url, {"pid": "SELECT pg_backend_pid()::text, pg_sleep($1::float8)::text"})
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as other:
        ((pid, _),) = wire.call("pid", b"0")
        killer = threading.Timer(0.2, other.execute, ("SELECT pg_terminate_backend(%s)", [int(pid or 0)]))
        killer.start()
        with pytest.raises(DatabaseAwayError), wire.rows_before_commit("pid", b"20"):
            pytest.fail("there were no rows")
        killer.join()
    with wire.rows_before_commit("pid", b"0") as rows:
        assert len(rows) == 1
    wire.close()


def test_an_error_that_is_not_the_database_s_is_its_askers_and_strands_nobody(url: str) -> None:
    async def ask() -> list[BaseException | str | None]:
        gate = make_gate(AsyncWire(url, STATEMENTS))
        first = asyncio.ensure_future(gate.ask({"milliseconds": 50}))
        await asyncio.sleep(0.01)  # it is on its way; the others wait for the next statement
        bad = asyncio.ensure_future(gate.ask({"milliseconds": object()}))
        await asyncio.sleep(0)
        answers: list[BaseException | str | None] = []
        answers += await asyncio.wait_for(asyncio.gather(first, bad, return_exceptions=True), 10)
        second = [asyncio.ensure_future(gate.ask({"milliseconds": value})) for value in (object(), 1)]
        answers += await asyncio.wait_for(asyncio.gather(*second, return_exceptions=True), 10)
        answers.append(await asyncio.wait_for(gate.ask({"milliseconds": 2}), 10))
        await gate.close()
        return answers

    first, bad, *others, last = asyncio.run(ask())
    assert (first, last) == ("50", "2")
    assert isinstance(bad, TypeError)
    assert all(isinstance(other, TypeError) for other in others), "asked together, refused together"
