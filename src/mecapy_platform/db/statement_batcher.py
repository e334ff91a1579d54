"""Natural group commit: one statement in flight, and what arrives meanwhile goes together as the next one."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mecapy_platform.core.ids import as_plain
from mecapy_platform.db.errors import DatabaseAwayError, DatabaseError
from mecapy_platform.db.wire import AsyncWire, Row

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


@dataclass
class _Asked(Generic[Answer]):
    question: Mapping[str, Any]
    answer: "asyncio.Future[Answer | None]"


class StatementBatcher(Generic[Answer]):
    """Questions of one kind over one connection.

    `statement` takes one JSON array and further fixed parameters; `write` makes the array of several questions, `read`
    gives each its answer by position, None where there is none. A statement that fails is repeated question by
    question, so that one that cannot be answered holds back no other.
    """

    def __init__(
        self,
        wire: AsyncWire,
        statement: str,
        *,
        write: Callable[[Sequence[Mapping[str, Any]]], object],
        read: Callable[[Sequence[Mapping[str, Any]], Sequence[Row]], Sequence[Answer | None]],
        parameters: Sequence[bytes] = (),
        most: int = 64,
    ) -> None:
        self._wire, self._statement, self._most = wire, statement.encode(), most
        self._write, self._read, self._parameters = write, read, tuple(parameters)
        self._waiting: list[_Asked[Answer]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, question: Mapping[str, Any]) -> Answer | None:
        """Raises DatabaseError; DatabaseAwayError where the connection was lost: nobody knows what became of it."""
        asked = _Asked[Answer](question, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await asked.answer

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._wire.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(batch)
        finally:
            self._running = None
            left, self._waiting = (
                self._waiting,
                [],
            )  # empty, unless this task was cancelled
            _fail(left, asyncio.CancelledError())

    async def _answer(self, batch: Sequence[_Asked[Answer]]) -> None:
        try:
            await self._wire.connect()
            questions = [asked.question for asked in batch]
            text = json.dumps(self._write(questions), separators=(",", ":"), default=as_plain).encode()
            rows = await self._wire.call(self._statement, (text, *self._parameters))
            for asked, answer in zip(batch, self._read(questions, rows), strict=True):
                if not asked.answer.done():
                    asked.answer.set_result(answer)
        except DatabaseAwayError as error:
            _fail(batch, error)
        except DatabaseError as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            log.info("a batch of %s is repeated one by one: %s", len(batch), error.detail)
            for asked in batch:
                await self._answer([asked])
        except Exception as error:  # whatever it is, it is theirs alone: the others are answered
            log.exception("a batch of %s failed", len(batch))
            _fail(batch, error)
        except BaseException as error:
            _fail(batch, error)
            raise


def _fail(batch: Sequence[_Asked[Answer]], error: BaseException) -> None:
    for asked in batch:
        if not asked.answer.done():
            asked.answer.set_exception(error)
