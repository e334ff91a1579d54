"""Follows one run on the worker's side.

Output pipes, the progress file, the spawner's word, until everything is dead.
"""

import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Self

from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import (
    Collected,
    Ended,
    EndReason,
    LogChunk,
    OutputFile,
    ProgressLine,
    SandboxSpec,
    StopReason,
    Tick,
)
from mecapy_platform.sandbox.collect import collect_outputs, open_output
from mecapy_platform.sandbox.output_streams import FLOOD, PIECE, LineBuffer, ProgressTail, Streams


class BubblewrapRun:
    """A run behind the spawner's connection: closing the connection kills it."""

    reference: str | None = None

    def __init__(self, connection: socket.socket, streams: Streams, spec: SandboxSpec, top: int, early: bytes) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._spec = spec
        self._top = top
        self._said = early
        self._streams = {streams.stdout: LineBuffer("stdout"), streams.stderr: LineBuffer("stderr")}
        self._progress = ProgressTail(top, spec.limits)
        self._log_bytes = 0
        self._log_is_over = False
        self._log_is_cut = False
        self._stop_reason: StopReason | None = None
        self._ended: Ended | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._started_at = time.monotonic()

    def events(self, interval_seconds: float = 0.25) -> Iterator[LogChunk | ProgressLine | Tick]:
        if self._is_closed:
            return
        with selectors.PollSelector() as selector:
            for fd in (*self._streams, self._connection.fileno()):
                selector.register(fd, selectors.EVENT_READ)
            looked_at = time.monotonic()
            while self._ended is None and not self._is_closed:
                ready = {key.fd for key, _mask in selector.select(interval_seconds)}
                for fd in ready & self._streams.keys():
                    yield from self._read_stream(fd, selector)
                if self._connection.fileno() in ready:
                    self._hear()
                if time.monotonic() - looked_at >= interval_seconds or self._ended is not None:
                    looked_at = time.monotonic()
                    if self._has_progress():
                        yield from self._progress.read(final=self._ended is not None)
                    yield Tick()
            open_streams = selector.get_map()
            ended = [fd for fd in self._streams if fd not in open_streams]
        for fd, buffer in self._streams.items():
            if fd in ended:
                yield from self._keep(buffer.stream, 0, buffer.feed(b"", final=True))
            else:
                yield from self._read_stream(fd, None)

    def stop(self, reason: StopReason) -> None:
        with self._lock:
            if self._stop_reason is None and not self._is_closed:
                self._stop_reason = reason
                self._tell(b"stop\n")

    def ended(self) -> Ended:
        assert self._ended is not None, "the run has not ended"
        return self._ended

    def collect(self) -> Collected:
        self.ended()
        return collect_outputs(self._top, self._spec.limits)

    def open_output(self, file: OutputFile) -> BinaryIO:
        return open_output(self._top, file)

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._connection.setblocking(True)
        self._connection.settimeout(10)
        if self._ended is None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
                while self._connection.recv(PIECE):  # the spawner closes once everything is dead
                    pass
        self._connection.close()
        for fd in (*self._streams, self._top):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _has_progress(self) -> bool:
        """False once it is known that there is no such file."""
        return True

    def _read_stream(self, fd: int, selector: selectors.BaseSelector | None) -> Iterator[LogChunk]:
        """Once `selector` is None everything is dead: read to the end."""
        buffer = self._streams[fd]
        while True:
            try:
                data = os.read(fd, PIECE)
            except BlockingIOError:
                data = None
            if data:
                yield from self._keep(buffer.stream, len(data), buffer.feed(data))
            if selector is not None:
                if data == b"":
                    selector.unregister(fd)
                return
            if not data:
                yield from self._keep(buffer.stream, 0, buffer.feed(b"", final=True))
                return

    def _keep(self, stream: str, size: int, text: str) -> Iterator[LogChunk]:
        limit = self._spec.limits.log_bytes
        self._log_bytes += size
        if self._log_bytes > limit * FLOOD and not self._log_is_over:
            self._log_is_over = True
            self._tell(b"kill\n")
        if self._log_is_cut or not text:
            return
        yield LogChunk(stream, text)
        if self._log_bytes > limit:
            self._log_is_cut = True
            yield LogChunk("platform", endings.log_truncated(limit))

    def _tell(self, word: bytes) -> None:
        with suppress(OSError):
            self._connection.send(word)

    def _hear(self) -> None:
        try:
            piece = self._connection.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._said += piece
        if b"\n" in self._said:
            self._ended = self._read_end(json.loads(self._said.partition(b"\n")[0])["ended"])
        elif not piece:
            usage = Usage(time.monotonic() - self._started_at, None, None)
            self._ended = Ended(EndReason.MACHINE, None, None, usage, self._stop_reason, endings.WATCHER_DIED)

    def _read_end(self, said: dict[str, object]) -> Ended:
        if self._log_is_over:
            said |= {"reason": EndReason.LOG_LIMIT, "log_bytes": self._log_bytes}
        return endings.read_end(said, self._spec.limits, stop=self._stop_reason)
