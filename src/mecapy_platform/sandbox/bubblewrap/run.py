"""Follows one run on the worker's side.

Output pipes, the progress file, the word of whoever holds it, until everything is dead.
"""

import os
import selectors
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

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
from mecapy_platform.sandbox.bubblewrap.channel import Channel, Word
from mecapy_platform.sandbox.collect import collect_outputs, open_output
from mecapy_platform.sandbox.output_streams import FLOOD, PIECE, LineBuffer, ProgressTail


class BubblewrapRun:
    """A run of its own or a call in a warm slot: `channel` is all that differs. Closed before its end, it is killed."""

    reference: str | None = None

    def __init__(self, channel: Channel, spec: SandboxSpec) -> None:
        self.channel = channel
        self._spec = spec
        streams = channel.streams
        self._streams = {streams.stdout: LineBuffer("stdout"), streams.stderr: LineBuffer("stderr")}
        self._progress = ProgressTail(channel.top, spec.limits)
        self._log_bytes = 0
        self._log_is_over = False
        self._log_is_cut = False
        self._stop_reason: StopReason | None = None
        self._ended: Ended | None = None
        self._only_result: bytes | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def events(self, interval_seconds: float = 0.25) -> Iterator[LogChunk | ProgressLine | Tick]:
        if self._is_closed:
            return
        with selectors.PollSelector() as selector:
            for fd in (*self._streams, self.channel.fileno()):
                selector.register(fd, selectors.EVENT_READ)
            looked_at = time.monotonic()
            while self._ended is None and not self._is_closed:
                ready = {key.fd for key, _mask in selector.select(interval_seconds)}
                for fd in ready & self._streams.keys():
                    yield from self._read_stream(fd, selector)
                if self.channel.fileno() in ready:
                    self._hear()
                if time.monotonic() - looked_at >= interval_seconds or self._ended is not None:
                    looked_at = time.monotonic()
                    if self._only_result is None:
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
                self.channel.tell(Word.STOP)

    def ended(self) -> Ended:
        assert self._ended is not None, "the run has not ended"
        return self._ended

    def collect(self) -> Collected:
        self.ended()
        if self._only_result is not None and len(self._only_result) <= self._spec.limits.result_bytes:
            return Collected(self._only_result, None)
        return collect_outputs(self.channel.top, self._spec.limits)

    def open_output(self, file: OutputFile) -> BinaryIO:
        return open_output(self.channel.top, file)

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self.channel.close(self._ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
            self.channel.tell(Word.KILL)
        if self._log_is_cut or not text:
            return
        yield LogChunk(stream, text)
        if self._log_bytes > limit:
            self._log_is_cut = True
            yield LogChunk("platform", endings.log_truncated(limit))

    def _hear(self) -> None:
        end = self.channel.hear()
        if end is None:
            return
        report = end.report
        if self._log_is_over and report["reason"] != EndReason.MACHINE:
            report = report | {"reason": EndReason.LOG_LIMIT, "log_bytes": self._log_bytes}
        self._only_result = end.only_result
        self._ended = endings.read_end(report, self._spec.limits, stop=self._stop_reason)
