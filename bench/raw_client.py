"""HTTP on one kept connection with as little as a caller can spend: bytes made ahead, one write, one read."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit


class RawApi:
    """One connection of one user."""

    def __init__(self, url: str, token: str) -> None:
        place = urlsplit(url)
        self._socket = socket.create_connection((place.hostname or "", place.port or 80), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"Host: {place.netloc}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n".encode()
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        line = f"{method} {path} HTTP/1.1\r\nContent-Length: {len(content)}\r\n".encode()
        self._socket.sendall(line + self._head + b"\r\n" + content)
        status, text = self._answer()
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {text[:500]!r}")
        return json.loads(text)

    def close(self) -> None:
        self._socket.close()

    def _answer(self) -> tuple[int, bytes]:
        received = self._socket.recv(65536)
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, text = received.partition(b"\r\n\r\n")
        lowered = head.lower()
        begins = lowered.index(b"content-length:") + len(b"content-length:")
        length = int(lowered[begins:].split(b"\r\n", 1)[0])
        while len(text) < length:
            text += self._more()
        return int(head[9:12]), text

    def _more(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece
