"""Answers that hold values of tasks: their JSON is put in as it lies, so that nothing here parses it or holds it whole.

What is large goes out in pieces, as fast as the client takes it. So the memory of an answer does not grow with its
values, and many at once cost little.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from starlette.responses import Response, StreamingResponse

from mecapy_platform.api.deps import Caller
from mecapy_platform.services.tasks.values import Lying, row_pieces
from mecapy_platform.storage.base import Storage

CHUNK_BYTES = 48 << 10  # a multiple of three, so that pieces of base64 follow each other
JSON = "application/json"


@dataclass(frozen=True)
class Pieces:
    """Stands in an answer for JSON that is written when the answer is sent."""

    text: Iterable[bytes]
    is_large: bool = True


def value_pieces(caller: Caller, task_id: UUID, column: str, lying: Lying) -> Pieces | None:
    """A value of a task as it lies. What lies in storage is opened now: where it is away, that is the answer."""
    if lying.text is not None:
        return Pieces((lying.text.encode(),), is_large=False)
    if lying.key is not None:
        return Pieces(_chunks(caller.context.storage.open(lying.key)))
    return None if lying.row_bytes is None else Pieces(row_pieces(caller.session, task_id, column, lying.row_bytes))


def file_pieces(storage: Storage, key: str) -> Pieces:
    """A stored file as a text of base64."""
    source = storage.open(key)
    return Pieces(chain((b'"',), map(base64.b64encode, _chunks(source)), (b'"',)))


def with_members(value: Pieces, members: Mapping[str, Any]) -> Pieces:
    """A JSON object with members behind its own."""
    if not members:
        return value
    answer = _Answer(members)
    return Pieces(_joined(iter(value.text), answer.pieces()), is_large=value.is_large or answer.is_large)


def respond(answer: Mapping[str, Any]) -> Response:
    """`answer` as JSON, whose values may be `Pieces` wherever they stand."""
    whole = _Answer(answer)
    if whole.is_large:
        return StreamingResponse(whole.pieces(), media_type=JSON)
    return Response(b"".join(whole.pieces()), media_type=JSON)


def respond_alone(value: Pieces) -> Response:
    return StreamingResponse(iter(value.text), media_type=JSON)


class _Answer:
    """Written with a mark where pieces go; the marks are texts that nobody can have known."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._found: list[Pieces] = []
        self._mark = uuid4().hex
        text = json.dumps(answer, default=self._mark_of, separators=(",", ":"), ensure_ascii=False)
        self._parts = [part.encode() for part in text.split(f'"{self._mark}"')]

    @property
    def is_large(self) -> bool:
        return any(item.is_large for item in self._found)

    def pieces(self) -> Iterator[bytes]:
        yield self._parts[0]
        for found, part in zip(self._found, self._parts[1:], strict=True):
            yield from found.text
            yield part

    def _mark_of(self, value: object) -> str:
        if not isinstance(value, Pieces):
            raise TypeError(f"no JSON: {type(value).__name__}")
        self._found.append(value)
        return self._mark


def _joined(value: Iterator[bytes], members: Iterator[bytes]) -> Iterator[bytes]:
    """Two JSON objects as one: the first without its closing brace, the second without its opening one."""
    held = next(value)
    is_empty = held.split() in ([b"{}"], [b"{", b"}"])
    for piece in value:
        yield held
        held = piece
    yield held.rstrip()[:-1]
    first = next(members)
    yield first[1:] if is_empty else b"," + first[1:]
    yield from members


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    with source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
