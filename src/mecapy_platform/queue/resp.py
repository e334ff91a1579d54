"""As much of Redis' protocol as hints need, on a plain socket.

Commands made ahead as bytes, short answers, a descriptor to wait on.
"""

import select
import socket
import ssl
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TIMEOUT_SECONDS = 1.0


class RespError(OSError):
    """The server answered with an error, or left."""


def command(*parts: bytes | str | float) -> bytes:
    """One command as it goes over the wire."""
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)


class Resp:
    """One connection, signed in and with its database chosen. Not shared between threads."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._socket = _connected(url)
        self._buffer = b""
        self._watch = select.poll()
        self._watch.register(self._socket, select.POLLIN)
        try:
            if place.password is not None:
                user = (unquote(place.username),) if place.username else ()
                self.ask(command("AUTH", *user, unquote(place.password)))
            database = parse_qs(place.query).get("db", [place.path.lstrip("/") if place.scheme != "unix" else ""])[0]
            if database not in {"", "0"}:
                self.ask(command("SELECT", database))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, commands: bytes) -> None:
        self._socket.sendall(commands)

    def send_at_once(self, commands: bytes) -> None:
        """Send all of it without waiting. Raises OSError where the way is not free, and is of no use then."""
        self._socket.settimeout(0)
        if self._socket.send(commands) != len(commands):
            raise RespError("the broker does not read what it is sent")
        self._socket.settimeout(TIMEOUT_SECONDS)

    def ask(self, commands: bytes) -> Any:
        self.send(commands)
        return self.read()

    def read(self) -> Any:
        """One answer: text, number, None, or a list of them."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RespError(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        length = int(rest)
        if length < 0:
            return None
        if kind == b"*":
            return [self.read() for _ in range(length)]
        return self._exactly(length + 2)[:-2]

    @property
    def has_more(self) -> bool:
        """Whether something is here that `fileno` no longer tells of."""
        return bool(self._buffer) or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    @property
    def is_over(self) -> bool:
        """Whether there is anything to read: of a connection that is sent no answers, that is its end."""
        return bool(self._watch.poll(0))

    def close(self) -> None:
        self._socket.close()

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._more()
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found

    def _more(self) -> None:
        piece = self._socket.recv(65536)
        if not piece:
            raise RespError("the broker closed the connection")
        self._buffer += piece


def _connected(url: str) -> socket.socket:
    place = urlsplit(url)
    if place.scheme == "unix":
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        local.settimeout(TIMEOUT_SECONDS)
        local.connect(unquote(place.path))
        return local
    made = socket.create_connection((place.hostname or "localhost", place.port or 6379), timeout=TIMEOUT_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if place.scheme == "rediss":
        return ssl.create_default_context().wrap_socket(made, server_hostname=place.hostname)
    return made
