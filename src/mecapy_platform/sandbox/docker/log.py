"""Reads the log that a container's first process keeps in memory, by descriptor.

What was told before a restart is left out.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import LogChunk, ProgressLine, Seen
from mecapy_platform.sandbox.output_streams import LineBuffer

STREAMS = {1: "stdout", 2: "stderr"}
HEAD = 5  # one byte of stream, four of length
PIECE = 1 << 20
MAX_RECORD = 65536


@dataclass
class LogTail:
    """Records of (stream, bytes), appended while the run goes on."""

    fd: int
    log_bytes: int
    _offset: int = 0
    _size: int = 0
    _is_cut: bool = False
    _buffers: dict[int, LineBuffer] = field(
        default_factory=lambda: {number: LineBuffer(name) for number, name in STREAMS.items()}
    )

    def read(self, *, is_final: bool) -> Iterator[LogChunk]:
        while (data := os.pread(self.fd, PIECE, self._offset)) and (whole := list(_records(data))):
            for stream, body in whole:
                self._offset += HEAD + len(body)
                yield from self._keep(stream, body)
        if is_final:
            for stream in STREAMS:
                yield from self._tell(stream, self._buffers[stream].feed(b"", final=True))

    def _keep(self, stream: int, body: bytes) -> Iterator[LogChunk]:
        self._size += len(body)
        yield from self._tell(stream, self._buffers[stream].feed(body))
        if self._size > self.log_bytes and not self._is_cut:
            self._is_cut = True
            yield LogChunk("platform", endings.log_truncated(self.log_bytes))

    def _tell(self, stream: int, text: str) -> Iterator[LogChunk]:
        if text and not self._is_cut:
            yield LogChunk(STREAMS[stream], text)


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole records at the beginning of `data`."""
    at = 0
    while at + HEAD <= len(data):
        size = int.from_bytes(data[at + 1 : at + HEAD], "big")
        end = at + HEAD + size
        if end > len(data) or size > MAX_RECORD or data[at] not in STREAMS:
            return
        yield data[at], data[at + HEAD : end]
        at = end


class Unseen:
    """Takes away from the beginning what another worker has told already."""

    def __init__(self, seen: Seen) -> None:
        self._characters = {"stdout": seen.stdout_characters, "stderr": seen.stderr_characters}
        self._progress = seen.progress_lines
        self._platform = seen.platform_pieces

    def of_chunk(self, chunk: LogChunk) -> Iterator[LogChunk]:
        if chunk.stream == "platform":
            if self._platform:
                self._platform -= 1
            else:
                yield chunk
            return
        skipped = min(self._characters[chunk.stream], len(chunk.text))
        self._characters[chunk.stream] -= skipped
        if skipped < len(chunk.text):
            yield LogChunk(chunk.stream, chunk.text[skipped:])

    def of_progress(self, line: ProgressLine) -> Iterator[ProgressLine]:
        if self._progress:
            self._progress -= 1
        else:
            yield line
