"""Looks at a zip's end and directory before the standard library does.

One reading alone is possible, and a large one costs nothing.
"""

import io
from dataclasses import dataclass
from typing import BinaryIO

from mecapy_platform.core.errors import MalformedError, TooLargeError

END_SIGNATURE = b"PK\x05\x06"
END64_SIGNATURE = b"PK\x06\x07"
MEMBER_SIGNATURE = b"PK\x01\x02"
END_BYTES = 22
END64_BYTES = 20
COMMENT_BYTES = 1 << 16
MEMBER_BYTES = 46
NAMES_BYTES = 360  # of a member, on average: name, extra field and comment
LEAST_BYTES = 1 << 16  # a directory of few members may have long names


@dataclass(frozen=True)
class _End:
    """The record at the end of a zip, and where it stands in the file."""

    position: int
    disks: tuple[int, int]
    counts: tuple[int, int]
    directory_bytes: int
    directory_start: int


def check_directory(source: BinaryIO, most: int) -> int:
    """Where the directory begins: all members lie before it.

    Raises MalformedError("archive_unreadable") where there is no zip, or one that two programs could read in two ways:
    two ends, data before or after it, zip64. Raises TooLargeError("archive_too_many_files") above `most` members.
    """
    end = _end(source)
    if 0xFFFF in end.counts or end.directory_bytes == 0xFFFFFFFF or max(end.counts) > most:
        raise _too_many(most)
    if end.disks != (0, 0) or end.counts[0] != end.counts[1]:
        raise _unreadable("it is one part of several")
    if end.directory_start + end.directory_bytes != end.position:
        raise _unreadable("its directory does not end where it ends, or something stands before it")
    if end.directory_bytes > max(most * (MEMBER_BYTES + NAMES_BYTES), LEAST_BYTES):
        raise _too_many(most)
    source.seek(end.directory_start)
    _count(source.read(end.directory_bytes), end.counts[0], most)
    source.seek(0)
    return end.directory_start


def _end(source: BinaryIO) -> _End:
    """The one record that ends with the file."""
    size = source.seek(0, io.SEEK_END)
    tail_start = max(0, size - END_BYTES - COMMENT_BYTES - END64_BYTES)
    source.seek(tail_start)
    tail = source.read(size - tail_start)
    found = [at for at in _positions(tail) if at + END_BYTES + _number(tail, at + 20, 2) == len(tail)]
    if not found:
        raise MalformedError(
            "archive_unreadable",
            "This is not a zip archive, its end is missing, or something stands behind it. Send a .zip file.",
        )
    if len(found) > 1:
        raise _unreadable("it has two ends")
    at = found[0]
    if tail[max(0, at - END64_BYTES) :][:4] == END64_SIGNATURE:
        raise _unreadable("it is in the zip64 form, which a package of this size has no use for")
    return _End(
        tail_start + at,
        (_number(tail, at + 4, 2), _number(tail, at + 6, 2)),
        (_number(tail, at + 8, 2), _number(tail, at + 10, 2)),
        _number(tail, at + 12, 4),
        _number(tail, at + 16, 4),
    )


def _positions(tail: bytes) -> list[int]:
    found, at = [], tail.find(END_SIGNATURE)
    while at >= 0:
        if at + END_BYTES <= len(tail):
            found.append(at)
        at = tail.find(END_SIGNATURE, at + 1)
    return found


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _count(directory: bytes, told: int, most: int) -> None:
    position = count = 0
    while directory[position : position + 4] == MEMBER_SIGNATURE:
        count += 1
        if count > most:
            raise _too_many(most)
        position += MEMBER_BYTES + sum(_number(directory, position + place, 2) for place in (28, 30, 32))
    if count != told or position != len(directory):
        raise _unreadable(f"it says it has {told} members, and its directory tells otherwise")


def _unreadable(why: str) -> MalformedError:
    return MalformedError(
        "archive_unreadable", f"The archive cannot be trusted: {why}. Make it again with an ordinary tool."
    )


def _too_many(most: int) -> TooLargeError:
    return TooLargeError(
        "archive_too_many_files",
        f"The archive has more than {most} files, or very long names; leave out what the calculation does not need.",
    )
