"""The worker's end of the socket into a container.

Only its first process is believed: by its user, and when found again by its pid.
"""

import json
import os
import socket
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mecapy_platform.sandbox.peer import peer_of

PIECE = 65536
MAX_LINE = 1 << 20
HELLO_SECONDS = 5.0  # for the whole of it
NAME = "socket"
NOT_SEEN = 0  # the pid of a process outside our PID namespace: nobody whom we could tell from user code
NOBODY = -1  # a container that has no first process any more


@dataclass(frozen=True)
class Hello:
    """What the container's first process brought: how things stand, and the descriptors of out/ and of its log."""

    state: Mapping[str, Any]
    pid: int
    out: int
    log: int


@dataclass
class Link:
    """Listens until the container's first process has come, then speaks with it. `wait_on` is what to select on."""

    folder: Path
    uid: int
    pid: int | None = None  # None: whoever comes first, as before any code of the user runs
    _listener: socket.socket | None = None
    _connection: socket.socket | None = None
    _heard: bytes = b""

    def listen(self) -> None:
        """Listen anew; a connection of before is dropped, also one that another worker holds."""
        self.close()
        path = self.folder / "port"
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            short = f"/proc/self/fd/{folder}/{NAME}"  # a socket's path has 107 bytes at most
            with suppress(FileNotFoundError):
                os.unlink(NAME, dir_fd=folder)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            listener.bind(short)
            os.chmod(NAME, 0o666, dir_fd=folder)  # noqa: S103 - who may speak is decided by who it is
            listener.listen(4)
        finally:
            os.close(folder)
        self._listener = listener

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def wait_on(self) -> socket.socket | None:
        return self._connection or self._listener

    def accept(self) -> Hello | None:
        """Take a connection and read its hello.

        None when it is not the one we wait for, or not all of it is there yet.
        """
        assert self._listener is not None
        try:
            connection, _address = self._listener.accept()
        except BlockingIOError:
            return None
        peer = peer_of(connection)
        if peer.uid != self.uid or peer.pid == NOT_SEEN or self.pid not in {None, peer.pid}:
            connection.close()
            return None
        hello = _read_hello(connection, peer.pid)
        if hello is None:
            connection.close()
            return None
        connection.setblocking(False)
        self.pid = peer.pid
        self._connection = connection
        self._stop_listening()
        return hello

    def say(self, message: Mapping[str, Any]) -> bool:
        """False: it did not go out; the connection is then dropped."""
        if self._connection is None:
            return False
        raw = json.dumps(message).encode() + b"\n"
        try:
            if self._connection.send(raw) == len(raw):
                return True
        except OSError:
            pass
        self._drop()
        return False

    def hear(self) -> list[dict[str, Any]]:
        """What has come; an end of the connection drops it."""
        assert self._connection is not None
        try:
            piece = self._connection.recv(PIECE)
        except BlockingIOError:
            return []
        except OSError:
            piece = b""
        self._heard += piece
        if not piece or len(self._heard) > MAX_LINE:
            self._drop()
        *lines, self._heard = self._heard.split(b"\n")
        try:
            said = [json.loads(line) for line in lines if line]
        except (ValueError, RecursionError):
            said = [None]
        if not all(isinstance(message, dict) for message in said):
            self._drop()  # not our first process's way to speak
            return []
        return said

    def close(self) -> None:
        self._stop_listening()
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with suppress(OSError):
                (self.folder / "port" / NAME).unlink()


def _read_hello(connection: socket.socket, pid: int) -> Hello | None:
    raw = b""
    descriptors: list[int] = []
    deadline = time.monotonic() + HELLO_SECONDS
    state = None
    try:
        while not raw.endswith(b"\n") and len(raw) < MAX_LINE and len(descriptors) <= 2:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            piece, received, _flags, _address = socket.recv_fds(connection, PIECE, 2)
            descriptors += received
            if not piece:
                break
            raw += piece
        state = json.loads(raw)["hello"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        state = None
    if not isinstance(state, dict) or not _are_ours(descriptors):
        for fd in descriptors:
            os.close(fd)
        return None
    return Hello(state, pid, descriptors[0], descriptors[1])


def _are_ours(descriptors: list[int]) -> bool:
    """A folder, and a regular file: reading anything else could wait for ever."""
    return [stat.S_IFMT(os.fstat(fd).st_mode) for fd in descriptors] == [stat.S_IFDIR, stat.S_IFREG]
