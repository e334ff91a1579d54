"""Serves one request with a large body as a bounded call: the same application, in a process of its own."""

import asyncio
import json
import os
import pickle
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message

from mecapy_platform.api.app import create_app
from mecapy_platform.api.context import ApiContext
from mecapy_platform.api.large_bodies import LargeRequest
from mecapy_platform.bounded.template import Called
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.events.doorbell import Doorbell

PIECE_BYTES = 1 << 20


def serve(called: Called) -> None:
    """Answer with the head as JSON, then the body. What a process that reads no strangers' JSON has sent is trusted."""
    request: LargeRequest = pickle.loads(called.argument)  # noqa: S301 - from the process that started us
    database = Database(make_engine(request.settings.database_url, pool_size=1))
    doorbell = Doorbell(request.settings.database_url)  # not started: nobody waits here
    context = ApiContext(request.settings, database, request.storage, doorbell, hints=lambda *_lanes: None)
    app = create_app(context, serves_large=False)
    app.state.authenticator.remember(Headers(raw=request.scope["headers"]), request.claims, request.identity)
    asyncio.run(app(dict(request.scope), _Body(called.descriptors[0]), _Answer(called)))


class _Body:
    """A `receive` that reads the file in which the body waits.

    Behind its end nothing comes: who sends an answer in pieces listens there for a client that goes away.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0
        self._is_read = False

    async def __call__(self) -> Message:
        if self._is_read:
            await asyncio.get_running_loop().create_future()
        piece = os.pread(self._descriptor, PIECE_BYTES, self._offset)
        self._offset += len(piece)
        self._is_read = not piece
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}


class _Answer:
    """A `send` that writes frames."""

    def __init__(self, called: Called) -> None:
        self._called = called

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: list[Any] = [
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())
            ]
            self._called.send(json.dumps({"status": message["status"], "headers": headers}).encode())
        elif body := message.get("body", b""):
            self._called.send(body)
