"""Bounds on what arrives before a request is one.

The parser under the server keeps a head and trailers of any length, for ever.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10
TOO_LARGE = "The head of the request is too large."


def bounded(head_seconds: float) -> Callable[..., asyncio.Protocol]:
    """What the server makes a connection with; a head must be whole within `head_seconds`."""

    def make(*arguments: Any, **named: Any) -> asyncio.Protocol:
        protocol = BoundedProtocol(*arguments, **named)
        protocol.head_seconds = head_seconds
        return protocol

    return make


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose head, trailers and framing are bounded in size, and whose head is bounded in time."""

    head_seconds = 30.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unclaimed_bytes = 0  # arrived since the last piece of a body, or the end of a head
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the class above
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        self._unclaimed_bytes += len(data)
        super().data_received(data)
        if self._unclaimed_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._unclaimed_bytes = 0
        self._forget_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unclaimed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unclaimed_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._close)

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self) -> None:
        """Before an answer began, 431; in the middle of one, nothing more can be said."""
        if self.cycle is None or self.cycle.response_complete:
            body = TOO_LARGE.encode()
            head = (
                f"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\ncontent-length: "
                f"{len(body)}\r\n"
            )
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
