"""Prepared statements straight over libpq, for the few statements that every task needs.

Text in, text out; no transaction but each call.

One connection, made when it is first needed and again after it was lost. Everything else goes through db/session.
"""

import asyncio
import select
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import errors, pq

from mecapy_platform.db.errors import translated
from mecapy_platform.db.interface import CONNECT_OPTION

Row = tuple[bytes | None, ...]
# A plan is kept for long, and made while tables may be small: it is told to find rows by index, however few they are.
BY_INDEX = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
OPTIONS = f"-c statement_timeout=30000 -c plan_cache_mode=force_generic_plan {BY_INDEX} {CONNECT_OPTION}"
CONNECT_SECONDS = 5
LOST = "the connection to the database was lost"
GOOD = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK})


def plain_url(url: str) -> str:
    """Libpq's form of SQLAlchemy's URL."""
    return url.replace("postgresql+psycopg:", "postgresql:", 1)


class _Prepared:
    """A connection and the statements prepared on it."""

    def __init__(self, url: str, statements: Mapping[str, str]) -> None:
        self._url = plain_url(url)
        self._statements = statements
        self._connection: psycopg.Connection | None = None
        self._names: set[str] = set()

    def connected(self) -> pq.abc.PGconn:
        """The connection with every statement prepared; blocks while it is made."""
        if self._connection is None or self._connection.pgconn.status != pq.ConnStatus.OK:
            self.close()
            made = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name="mecapy-wire",
                options=OPTIONS,
            )
            try:
                for name, statement in self._statements.items():
                    checked(made.pgconn.prepare(name.encode(), statement.encode()))
            except psycopg.Error:
                made.close()
                raise
            self._connection = made
        return self._connection.pgconn

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Wire:
    """Blocks its thread for each call; calls of several threads follow each other."""

    def __init__(self, url: str, statements: Mapping[str, str]) -> None:
        self._prepared = _Prepared(url, statements)
        self._lock = threading.Lock()

    def call(self, name: str, *parameters: bytes) -> list[Row]:
        """The rows of one prepared statement. Raises DatabaseError."""
        with translated(), self._lock:
            connection = self._prepared.connected()
            result = connection.exec_prepared(name.encode(), parameters)
            if connection.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError(LOST)
            return checked(result)

    @contextmanager
    def rows_before_commit(self, name: str, *parameters: bytes) -> Iterator[list[Row]]:
        """The rows before they are committed; leaving the block waits for the commit.

        Raises DatabaseError, at the rows or at the commit.

        Flushing the log takes as long as a short call does: what can be undone may begin meanwhile. Nobody else sees
        the rows yet.
        """
        with translated(), self._lock:
            connection = self._prepared.connected()
            try:
                connection.enter_pipeline_mode()
                connection.send_query_prepared(name.encode(), parameters)
                connection.send_flush_request()
                connection.pipeline_sync()
                _send_all(connection)
                rows = checked(_next_result(connection))
            except BaseException:
                self._prepared.close()  # what is still to come must not be taken for the next answer
                raise
            try:
                yield rows
            finally:
                try:
                    _settle(connection)
                except BaseException:
                    self._prepared.close()
                    raise

    def close(self) -> None:
        with self._lock:
            self._prepared.close()


class AsyncWire:
    """The same inside an event loop.

    One call at a time: who has several to make puts them into one, see db/statement_batcher.
    """

    def __init__(self, url: str, statements: Mapping[str, str]) -> None:
        self._prepared = _Prepared(url, statements)
        self._connection: pq.abc.PGconn | None = None
        self._socket = -1  # of the connection, which does not tell any more once it is lost
        self._waiter: asyncio.Future[list[Row]] | None = None
        self._results: list[pq.abc.PGresult] = []

    async def connect(self) -> None:
        """Return at once where a good connection is; make one in a thread otherwise."""
        if self._connection is not None:
            if self._connection.status == pq.ConnStatus.OK:
                return
            self._drop()
        with translated():
            connection = await asyncio.to_thread(self._prepared.connected)
        self._socket = connection.socket
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        self._connection = connection

    async def call(self, name: bytes, parameters: Sequence[bytes]) -> list[Row]:
        """As Wire.call, on a connection that `connect` has just found good."""
        with translated():
            return await self._call(name, parameters)

    async def _call(self, name: bytes, parameters: Sequence[bytes]) -> list[Row]:
        connection = self._connection
        if connection is None or self._waiter is not None:
            raise psycopg.InterfaceError("the connection is not made, or in use")
        waiter: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            connection.send_query_prepared(name, parameters)
            if connection.flush():  # large parameters do not fit the socket at once
                asyncio.get_running_loop().add_writer(self._socket, self._writable)
            return await waiter
        except asyncio.CancelledError:
            self._drop()  # its answer is still to come and must not be taken for the next one's
            raise
        finally:
            self._waiter = None

    def close(self) -> None:
        self._drop()

    def _writable(self) -> None:
        connection = self._connection
        try:
            if connection is None or not connection.flush():
                asyncio.get_running_loop().remove_writer(self._socket)
        except psycopg.Error:
            self._lose(self._waiter)

    def _readable(self) -> None:
        connection, waiter = self._connection, self._waiter
        if connection is None:
            return
        try:
            connection.consume_input()
            while not connection.is_busy():
                result = connection.get_result()
                if result is None:
                    break
                self._results.append(result)
            else:
                return
        except psycopg.Error:
            self._lose(waiter)
            return
        results, self._results = self._results, []
        if connection.status != pq.ConnStatus.OK:
            self._lose(waiter)
        elif results and waiter is not None and not waiter.done():
            try:
                waiter.set_result(checked(results[-1]))
            except psycopg.Error as error:
                waiter.set_exception(error)

    def _lose(self, waiter: "asyncio.Future[list[Row]] | None") -> None:
        if waiter is not None and not waiter.done():
            waiter.set_exception(psycopg.OperationalError(LOST))
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._results = []
        if connection is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            asyncio.get_running_loop().remove_writer(self._socket)
        self._prepared.close()


def _send_all(connection: pq.abc.PGconn) -> None:
    """Large parameters do not fit the socket at once."""
    waiting = select.poll()
    waiting.register(connection.socket, select.POLLIN | select.POLLOUT)
    while connection.flush():
        waiting.poll()
        connection.consume_input()


def _next_result(connection: pq.abc.PGconn) -> pq.abc.PGresult:
    """The next result of a pipeline; other threads work while this one waits."""
    waiting = select.poll()
    waiting.register(connection.socket, select.POLLIN)
    while True:
        while connection.is_busy():
            waiting.poll()
            connection.consume_input()
        result = connection.get_result()
        if result is not None:
            return result
        if connection.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(LOST)


def _settle(connection: pq.abc.PGconn) -> None:
    """Wait for the commit of what was sent last."""
    failed = None
    while (result := _next_result(connection)).status != pq.ExecStatus.PIPELINE_SYNC:
        failed = result
        if connection.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(LOST)
    connection.exit_pipeline_mode()
    if failed is not None:
        checked(failed)


def checked(result: pq.abc.PGresult) -> list[Row]:
    """The rows, or the error that PostgreSQL reports."""
    if result.status not in GOOD:
        raise errors.error_from_result(result)
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
