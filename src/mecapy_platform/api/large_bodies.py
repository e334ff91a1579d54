"""Requests whose body is larger than the event loop may read: served by a process of their own, see bounded/calls.

The body waits on disk, never in this process, and so does nothing that is made of it: the answer passes in pieces.
docs/decisions/0015 says why.
"""

import asyncio
import json
import logging
import pickle
import re
import socket
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mecapy_platform.api.auth import Authenticator
from mecapy_platform.api.context import ApiContext
from mecapy_platform.api.problems import error_response, http_error_response, too_complex
from mecapy_platform.api.room import above_floor
from mecapy_platform.bounded.calls import GRACE_SECONDS, BoundedCalls, Bounds, ended_early
from mecapy_platform.bounded.frames import Bound, BoundError, FrameReader
from mecapy_platform.core.errors import MecapyError, UnavailableError
from mecapy_platform.services.identity import Identity, TokenClaims
from mecapy_platform.settings import Settings
from mecapy_platform.storage.base import Storage

log = logging.getLogger(__name__)
SMALL_BYTES = 64 << 10  # read where it arrives
CHILD = "mecapy_platform.api.large_child"
RECEIVE_BYTES = 64 << 10
AT_ONCE = 2
SCOPE_NAMES = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path")
MADE_TASK = re.compile(rb'\{"id":"([0-9a-f-]{36})"')


@dataclass(frozen=True)
class LargeRequest:
    """What the child is told: the request without its body, and who sent it."""

    settings: Settings
    storage: Storage
    scope: Mapping[str, Any]
    claims: TokenClaims
    identity: Identity


class LargeBodies:
    """Behind the guards, in front of the routes: what is small goes on as it came."""

    def __init__(self, app: ASGIApp, context: ApiContext, authenticator: Authenticator) -> None:
        self._app, self._context, self._authenticator = app, context, authenticator
        self._calls = BoundedCalls(CHILD)
        self._turn = asyncio.Semaphore(AT_ONCE)
        settings = context.settings
        self._bounds = Bounds(settings.large_body_seconds, settings.large_body_memory_mb << 20)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                self._calls.close()
            return
        if scope["type"] != "http" or not _may_be_large(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        try:
            small, pieces = await _first_bytes(receive)
            if pieces is None:
                await self._app(scope, _replay(small, receive), send)
                return
            await self._large(scope, receive, send, small, pieces)
        except HTTPException as error:
            await http_error_response(scope["path"], error)(scope, receive, send)
        except MecapyError as error:
            await error_response(scope["path"], error)(scope, receive, send)

    async def _large(
        self, scope: Scope, receive: Receive, send: Send, first: bytes, rest: AsyncIterator[bytes]
    ) -> None:
        headers = Headers(scope=scope)
        claims = await self._authenticator.claims(headers)
        identity = await self._authenticator.identity(claims)
        directory = self._context.settings.data_dir / "incoming"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryFile(dir=directory) as body:
            body.write(first)
            async for piece in above_floor(rest, directory, self._context.settings.disk_floor_bytes):
                body.write(piece)
            body.flush()
            scope_there, wait = _without_wait(scope)
            request = LargeRequest(
                settings=self._context.settings,
                storage=self._context.storage,
                scope=scope_there,
                claims=claims,
                identity=identity,
            )
            answer = _Answer(send, holds_back=wait is not None)
            async with self._turn:
                await self._serve(pickle.dumps(request), body, answer)
        if answer.status < 300 and scope["method"] == "POST":
            self._context.hints()
        if wait is not None and answer.held:
            await self._wait(scope, receive, send, answer, wait)

    async def _serve(self, argument: bytes, body: IO[bytes], answer: "_Answer") -> None:
        began = time.monotonic()
        try:
            connection = await run_in_threadpool(self._calls.begin, f"{CHILD}:serve", self._bounds, [body.fileno()])
        except OSError as error:
            log.exception("no process for a large body")
            raise _unavailable() from error
        with connection:
            connection.setblocking(False)
            try:
                async with asyncio.timeout(self._bounds.seconds + GRACE_SECONDS):
                    await self._converse(connection, argument, answer, began)
            except (BoundError, TimeoutError) as error:
                log.warning("a large body was given up: %s", error)
                if answer.is_begun:
                    raise
                raise self._refused(error) from error

    async def _converse(self, connection: socket.socket, argument: bytes, answer: "_Answer", began: float) -> None:
        loop, reader = asyncio.get_running_loop(), FrameReader()
        try:
            await loop.sock_sendall(connection, argument)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it ended before it had read all: what there is to read says how
        while not reader.is_complete:
            try:
                data = await loop.sock_recv(connection, RECEIVE_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                raise ended_early(began, self._bounds)
            for piece in reader.feed(data):
                await answer.take(piece)
        await answer.finish()

    @staticmethod
    def _refused(error: BoundError | TimeoutError) -> MecapyError:
        if isinstance(error, BoundError) and error.bound is Bound.LOST:
            return _unavailable()
        return too_complex()

    async def _wait(self, scope: Scope, receive: Receive, send: Send, answer: "_Answer", wait: str) -> None:
        """The submit was answered by the child; its end is waited for here, where waiting costs nothing."""
        made = MADE_TASK.match(answer.held)
        if made is None:
            raise _unavailable()

        async def restated(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message = {**message, "status": answer.status}
            await send(message)

        path = f"/tasks/{made[1].decode()}"
        query = urlencode({"wait": wait}).encode()
        looked = {**scope, "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query}
        await self._app(looked, _replay(b"", receive), restated)


class _Answer:
    """Passes on what the child answers. `holds_back`: of a success, keep its beginning alone."""

    def __init__(self, send: Send, *, holds_back: bool) -> None:
        self._send, self._holds_back = send, holds_back
        self.status = 0
        self.held = b""
        self.is_begun = False  # the client has heard something

    async def take(self, piece: bytes) -> None:
        if not self.status:
            head = json.loads(piece)
            self.status = head["status"]
            self._holds_back = self._holds_back and self.status < 300
            if not self._holds_back:
                self.is_begun = True
                pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"]]
                await self._send({"type": "http.response.start", "status": self.status, "headers": pairs})
        elif self._holds_back:
            self.held = self.held or piece
        else:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def finish(self) -> None:
        if not self._holds_back:
            await self._send({"type": "http.response.body", "body": b""})


def _may_be_large(headers: Mapping[str, str]) -> bool:
    if headers.get("content-type", "").startswith("multipart/"):
        return False
    return "transfer-encoding" in headers or int(headers.get("content-length") or 0) > SMALL_BYTES


async def _first_bytes(receive: Receive) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """The whole body and None where it is small, else its beginning and what follows."""
    begun = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException(400, "The body was not sent to its end.")
        begun += message.get("body", b"")
        if not message.get("more_body", False):
            return (bytes(begun), None) if len(begun) <= SMALL_BYTES else (bytes(begun), _nothing())
        if len(begun) > SMALL_BYTES:
            return bytes(begun), _following(receive)


async def _following(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException(400, "The body was not sent to its end.")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""  # makes it a generator


def _replay(body: bytes, receive: Receive) -> Receive:
    is_told = False

    async def again() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _without_wait(scope: Scope) -> tuple[dict[str, Any], str | None]:
    """What of the request the child is told; of a submit that waits, not the waiting."""
    told = {name: scope[name] for name in SCOPE_NAMES if name in scope}
    told["headers"] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    if scope["method"] != "POST" or scope["path"] != "/tasks":
        return told, None
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if [name for name, _ in pairs] != ["wait"] or not _is_positive(pairs[0][1]):
        return told, None  # where it cannot be read, the route says so
    told["query_string"] = b""
    return told, pairs[0][1]


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) <= 86400
    except ValueError:
        return False


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "large_bodies_unavailable",
        "Large bodies cannot be read right now; look whether the task exists, then try again.",
    )
