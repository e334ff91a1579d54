"""Looks at a zip's directory before the standard library does, so that a directory of millions of members costs nothing."""

import io
from typing import BinaryIO

from mecapy_platform.core.errors import MalformedError, TooLargeError

END_SIGNATURE = b"PK\x05\x06"
MEMBER_SIGNATURE = b"PK\x01\x02"
END_BYTES = 22
COMMENT_BYTES = 1 << 16
MEMBER_BYTES = 46
NAMES_BYTES = 2048  # of one member: name, extra field and comment


def check_directory(source: BinaryIO, most: int) -> None:
    """Raises MalformedError("archive_unreadable") where there is no zip, TooLargeError("archive_too_many_files") above `most` members."""
    size = source.seek(0, io.SEEK_END)
    tail_start = max(0, size - END_BYTES - COMMENT_BYTES)
    source.seek(tail_start)
    tail = source.read(END_BYTES + COMMENT_BYTES)
    is_last = tail[-END_BYTES:][:4] == END_SIGNATURE and tail[-2:] == b"\0\0"
    at = len(tail) - END_BYTES if is_last else tail.rfind(END_SIGNATURE)
    if size < END_BYTES or at < 0 or len(tail) - at < END_BYTES:
        raise MalformedError("archive_unreadable", "This is not a zip archive, or its end is missing. Send a .zip file.")
    total = int.from_bytes(tail[at + 10 : at + 12], "little")
    directory_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
    if total == 0xFFFF or directory_bytes == 0xFFFFFFFF or total > most:
        raise _too_many(most)
    start = tail_start + at - directory_bytes
    if start < 0:
        raise MalformedError("archive_unreadable", "The archive's directory lies outside it. Make it again.")
    source.seek(start)
    if directory_bytes > most * (MEMBER_BYTES + NAMES_BYTES):
        raise _too_many(most)
    _count(source.read(directory_bytes), most)
    source.seek(0)


def _count(directory: bytes, most: int) -> None:
    position = count = 0
    while directory[position : position + 4] == MEMBER_SIGNATURE:
        count += 1
        if count > most:
            raise _too_many(most)
        lengths = directory[position + 28 : position + 34]
        position += MEMBER_BYTES + sum(int.from_bytes(lengths[index : index + 2], "little") for index in (0, 2, 4))


def _too_many(most: int) -> TooLargeError:
    return TooLargeError("archive_too_many_files", f"The archive has more than {most} files; leave out what the calculation does not need.")
