"""Reads what a run prints: output pipes cut into lines, and the progress file."""

import codecs
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from mecapy_platform.core import json_text
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import (
    Limits,
    LogChunk,
    ProgressLine,
)

PIECE = 65536
READ_BYTES = 1 << 20  # of progress, at a time
LINE_MAX = 64 * 1024  # a longer line is forwarded in pieces
FLOOD = 2  # times the log limit: then the run is ended


@dataclass
class Streams:
    """The read ends of the run's stdout and stderr."""

    stdout: int
    stderr: int

    @classmethod
    def open(cls) -> tuple["Streams", list[int]]:
        out_read, out_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        err_read, err_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for fd in (out_write, err_write):
            os.set_blocking(fd, True)
        return cls(out_read, err_read), [out_write, err_write]


@dataclass
class LineBuffer:
    """Bytes to whole lines of text, whatever the pieces they come in."""

    stream: str
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    _rest: str = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        text = (self._rest + self._decoder.decode(data, final)).replace("\r\n", "\n").replace("\0", "\ufffd")
        if final or len(text) > LINE_MAX:
            self._rest = ""
            return text
        end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1  # a last \r may be half of \r\n
        self._rest = text[end:]
        return text[:end]


class ProgressTail:
    """Reads out/progress.jsonl as it grows, by descriptor, following no link; only complete lines."""

    def __init__(self, top: int, limits: Limits, name: str = "out/progress.jsonl") -> None:
        self._limits = limits
        self._seen_bytes = self._seen_lines = 0  # whatever the file was replaced by
        self._is_over = False
        self._top = top
        self._name = name
        self._offset = 0
        self._inode = 0
        self._rest = b""

    def read(self, *, final: bool = False) -> Iterator[ProgressLine | LogChunk]:
        """What is new, up to the limits of the run; above them, the same sentence once and nothing more."""
        if self._is_over:
            return
        lines = (self._rest + self._read_new(self._limits.progress_bytes + 1 if final else READ_BYTES)).split(b"\n")
        self._rest = b"" if final else lines.pop()
        for line in lines:
            if not self._counts(line):
                yield LogChunk("platform", endings.progress_cut(self._limits))
                return
            if line.strip():
                yield _parse_progress(line)
        if len(self._rest) > LINE_MAX:
            is_within = self._counts(self._rest)
            self._rest = b""
            skipped = f"A progress line of more than {LINE_MAX} bytes was skipped.\n"
            yield LogChunk("platform", skipped if is_within else endings.progress_cut(self._limits))

    def _counts(self, line: bytes) -> bool:
        """False where the limits end before this line, and then for ever."""
        self._seen_bytes += len(line) + 1
        self._seen_lines += 1
        limits = self._limits
        self._is_over = self._seen_lines > limits.progress_lines or self._seen_bytes > limits.progress_bytes
        return not self._is_over

    def _read_new(self, most: int) -> bytes:
        try:
            fd = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._top)
        except OSError:
            return b""
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                return b""
            if seen.st_ino != self._inode or seen.st_size < self._offset:
                self._inode, self._offset, self._rest = seen.st_ino, 0, b""
            data = os.pread(fd, most, self._offset)
            self._offset += len(data)
            return data
        finally:
            os.close(fd)


def _parse_progress(line: bytes) -> ProgressLine | LogChunk:
    try:
        record = json_text.loads(line)
    except json_text.JsonError:
        record = None
    if not isinstance(record, dict) or json_text.has_bad_text(record):
        shown = line[:200].decode("utf-8", "replace").replace("\0", "\ufffd")
        return LogChunk(
            "platform", f"A line of progress.jsonl is not a JSON object that can be stored and was skipped: {shown}\n"
        )
    return ProgressLine(record)
