"""How a bounded call answers: pieces of bytes, each behind its length, and a last word that says how it ended."""

import struct
from collections.abc import Iterator
from enum import StrEnum

LENGTH = struct.Struct(">I")
PIECE_BYTES = 64 << 10
COMPLETE = LENGTH.pack(0)
OUT_OF_MEMORY = LENGTH.pack(0xFFFF_FFFF)


class Bound(StrEnum):
    """Why a call has no whole answer."""

    TIME = "time"
    MEMORY = "memory"
    LOST = "lost"


class BoundError(Exception):
    """The call was ended at a bound, or its process was lost; what it wrote before counts for nothing."""

    def __init__(self, bound: Bound) -> None:
        super().__init__(f"the bounded call ended early: {bound}")
        self.bound = bound


def frames(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        piece = data[start : start + PIECE_BYTES]
        yield LENGTH.pack(len(piece)) + piece


class FrameReader:
    """Takes what arrives, gives whole pieces. Knows whether the last word has come."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.is_complete = False

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that are whole now. Raises BoundError where the call says that it ran out of memory."""
        self._buffer += data
        pieces = []
        while not self.is_complete and len(self._buffer) >= LENGTH.size:
            head = bytes(self._buffer[: LENGTH.size])
            if head == OUT_OF_MEMORY:
                raise BoundError(Bound.MEMORY)
            end = LENGTH.size + LENGTH.unpack(head)[0]
            if len(self._buffer) < end:
                break
            pieces.append(bytes(self._buffer[LENGTH.size : end]))
            del self._buffer[:end]
            self.is_complete = head == COMPLETE
        return [piece for piece in pieces if piece]
