"""How worker and broker of the Docker daemon speak: JSON lines over a unix socket, a descriptor beside the first."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

MAX_REQUEST_BYTES = 4 << 20
PIECE = 65536


def send(connection: socket.socket, message: Mapping[str, object], descriptor: int | None = None) -> None:
    raw = json.dumps(message).encode() + b"\n"
    if descriptor is not None:
        sent = socket.send_fds(connection, [raw[:1]], [descriptor])
        raw = raw[sent:]
    connection.sendall(raw)


def receive_request(connection: socket.socket) -> tuple[dict[str, Any], int | None]:
    """One request and the descriptor that came with it. Raises ValueError for anything else."""
    raw, held = b"", []
    try:
        while not raw.endswith(b"\n"):
            piece, descriptors, _flags, _address = socket.recv_fds(connection, PIECE, 4)
            held += descriptors
            raw += piece
            if not piece or len(raw) > MAX_REQUEST_BYTES or len(held) > 1:
                raise ValueError("no request, or one that is too long")  # noqa: TRY301
        message = json.loads(raw)
        if not isinstance(message, dict):
            raise ValueError("no object")  # noqa: TRY004, TRY301
    except (OSError, ValueError, RecursionError) as error:
        for descriptor in held:
            os.close(descriptor)
        raise ValueError(f"the request cannot be read: {error}") from error
    return message, held[0] if held else None


def answers(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """The lines of an answer, until the other side closes."""
    with connection.makefile("rb") as stream:
        for line in stream:
            yield json.loads(line)
