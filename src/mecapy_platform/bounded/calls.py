"""Calls a function of ours in a process of its own, which has so much memory and so many seconds and is then killed.

For work on what strangers wrote and nobody can measure before: reading large JSON. Threads would not do: the
interpreter is one lock. docs/decisions/0015 says why.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from mecapy_platform.bounded.frames import Bound, BoundError, FrameReader

GRACE_SECONDS = 5.0  # after the process should have been ended by its own alarm
RECEIVE_BYTES = 256 << 10


@dataclass(frozen=True)
class Bounds:
    """What one call may use: memory beside what its process has before it, and seconds from its start."""

    seconds: float
    memory_bytes: int


class BoundedCalls:
    """One for a process. The template is started with the first call; `modules` are what it imports ahead.

    `environment`: variables that its processes have besides ours.
    """

    def __init__(self, *modules: str, environment: Mapping[str, str] | None = None) -> None:
        self._modules = modules
        self._environment = {**(environment or {}), "PYTHONSAFEPATH": "1"}
        self._template: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._lock = threading.Lock()

    def begin(self, target: str, bounds: Bounds, descriptors: Sequence[int] = ()) -> socket.socket:
        """Start `target` ("module:function", which takes a template.Called).

        Write its argument to the socket, shut down writing, then read frames. Raises OSError where no process starts.
        """
        ours, theirs = socket.socketpair()
        order = {"target": target, "seconds": bounds.seconds, "memory_bytes": bounds.memory_bytes}
        message = json.dumps(order).encode()
        try:
            with theirs, self._lock:
                if self._orders is None:
                    self._start()
                try:
                    self._send(message, theirs, descriptors)
                except OSError:  # the template has ended since: a new one is the same
                    self._forget()
                    self._start()
                    self._send(message, theirs, descriptors)
        except BaseException:
            ours.close()
            raise
        return ours

    def call(self, target: str, argument: bytes, bounds: Bounds, descriptors: Sequence[int] = ()) -> bytes:
        """As `begin`, to the whole answer. Raises BoundError, and OSError where no process starts."""
        deadline = time.monotonic() + bounds.seconds + GRACE_SECONDS
        with closing(self.begin(target, bounds, descriptors)) as connection:
            connection.settimeout(bounds.seconds + GRACE_SECONDS)
            try:
                connection.sendall(argument)
                connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it ended before it had read all: what there is to read says how
            return b"".join(_pieces(connection, deadline, bounds))

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _send(self, message: bytes, theirs: socket.socket, descriptors: Sequence[int]) -> None:
        assert self._orders is not None
        socket.send_fds(self._orders, [message], [theirs.fileno(), *descriptors])

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "mecapy_platform.bounded.template", str(theirs.fileno()), *self._modules]
            self._template = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                env={**os.environ, **self._environment},
            )
        self._orders = ours

    def _forget(self) -> None:
        """Its children that still work end by their own alarm."""
        if self._orders is not None:
            self._orders.close()
        if self._template is not None:
            self._template.kill()
            self._template.wait()
        self._template = self._orders = None


def ended_early(began: float, bounds: Bounds) -> BoundError:
    """Of a call whose answer stopped: by its alarm where its seconds are over, else something took its process."""
    return BoundError(Bound.TIME if time.monotonic() - began >= bounds.seconds else Bound.LOST)


def _pieces(connection: socket.socket, deadline: float, bounds: Bounds) -> Iterator[bytes]:
    began, reader = deadline - bounds.seconds - GRACE_SECONDS, FrameReader()
    while not reader.is_complete:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data = connection.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise BoundError(Bound.TIME) from None
        except ConnectionResetError:
            data = b""
        if not data:
            raise ended_early(began, bounds)
        yield from reader.feed(data)
