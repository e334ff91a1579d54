"""Around every request: size and pace of the body, identity before a large body is read, and an answer when we fail."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mecapy_platform.api.problems import error_response, internal_response, problem_response, too_complex
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.settings import Settings

MULTIPART_SLACK_BYTES = 1 << 20
BODY_STEP_SECONDS = 30.0
TOO_SLOW = "The body did not arrive in time."
DRAIN_BYTES = 64 << 20
DRAIN_SECONDS = 10.0
ANYBODYS_BYTES = 4096  # of a body that is read whoever sends it; for all others the head must hold a good token
Identify = Callable[[Headers], Awaitable[object]]


class ErrorGuard:
    """The outermost layer: an error that nobody handled is answered with an id and logged under it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = is_out_of_memory = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except MemoryError:
            if started:
                raise
            is_out_of_memory = True  # answered below, when the frames that hold the memory are gone
        except Exception as error:
            if started:
                raise
            await internal_response(scope["path"], error)(scope, receive, send)
        if is_out_of_memory:
            await error_response(scope["path"], too_complex())(scope, receive, send)


class BodyGuard:
    """Counts the body while it is read, whatever Content-Length says; gives up on a sender that stalls or trickles."""

    def __init__(self, app: ASGIApp, settings: Settings, identify: Identify) -> None:
        self._app, self._settings, self._identify = app, settings, identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, headers = scope["path"], Headers(scope=scope)
        if "\0" in path:
            await problem_response(path, 404, "not_found", "There is nothing at this address.")(scope, receive, send)
            return
        if b"%00" in scope["query_string"]:
            await problem_response(path, 422, "invalid_request", "A parameter holds the character NUL.")(
                scope, receive, send
            )
            return
        limit_bytes = self._limit(path, headers)
        reader = _Reader(receive, limit_bytes, self._settings)
        if _is_read_for_known_senders_alone(headers):
            try:
                await self._identify(headers)
            except MecapyError as error:
                await reader.drain()
                await error_response(path, error)(scope, receive, send)
                return
        if int(headers.get("content-length") or 0) > limit_bytes:
            await reader.drain()
            await problem_response(
                path, 413, "body_too_large", too_large(limit_bytes), headers={"Connection": "close"}
            )(scope, receive, send)
            return
        await self._app(scope, reader, send)

    def _limit(self, path: str, headers: Headers) -> int:
        if headers.get("content-type", "").startswith("multipart/"):
            if path.endswith("/from-zip"):
                return self._settings.archive_bytes + MULTIPART_SLACK_BYTES
            if path.endswith(("/uploads", "/upload/archive")):
                return self._settings.upload_bytes + MULTIPART_SLACK_BYTES
        return self._settings.body_bytes


def _is_read_for_known_senders_alone(headers: Headers) -> bool:
    """All but what is so small that reading it costs less than refusing it."""
    return (
        "transfer-encoding" in headers
        or headers.get("content-type", "").startswith("multipart/")
        or int(headers.get("content-length") or 0) > ANYBODYS_BYTES
    )


class _Reader:
    """A `receive` that counts bytes, and the seconds spent waiting for them."""

    def __init__(self, receive: Receive, limit_bytes: int, settings: Settings) -> None:
        self._receive, self._limit_bytes = receive, limit_bytes
        self._patience_seconds, self._bytes_per_second = settings.body_patience_seconds, settings.body_bytes_per_second
        self._read_bytes = 0
        self._waited_seconds = 0.0
        self._is_over = False

    async def __call__(self) -> Message:
        if self._is_over:
            return await self._receive()
        message = await self._next()
        if message["type"] != "http.request":
            self._is_over = True
            return message
        self._is_over = not message.get("more_body", False)
        self._read_bytes += len(message.get("body", b""))
        if self._read_bytes > self._limit_bytes:
            await self.drain()
            raise HTTPException(413, too_large(self._limit_bytes), {"Connection": "close"})
        return message

    async def _next(self) -> Message:
        """One piece, within what is left of the sender's time: some patience, and more for each byte that came."""
        left_seconds = self._patience_seconds + self._read_bytes / self._bytes_per_second - self._waited_seconds
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(BODY_STEP_SECONDS, left_seconds)):
                return await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, TOO_SLOW, {"Connection": "close"}) from error
        finally:
            self._waited_seconds += time.monotonic() - began

    async def drain(self) -> None:
        """Read on a little and forget it, so that a sender in the middle of its body hears the answer."""
        left = DRAIN_BYTES
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._is_over and left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._is_over = message["type"] != "http.request" or not message.get("more_body", False)
        except TimeoutError:
            return


def too_large(limit_bytes: int) -> str:
    return f"The body is larger than the {limit_bytes} bytes allowed here."
