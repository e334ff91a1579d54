"""Zips written field by field, so that each field can lie."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

REGULAR = 0o100644


@dataclass(frozen=True)
class Member:
    """One member: what its directory entry says, and what the header before its data says instead (`local`)."""

    name: bytes = b"a.txt"
    content: bytes = b"x"
    method: int = 8
    flags: int = 0x800
    mode: int = REGULAR
    system: int = 3
    low_attributes: int = 0
    extra: bytes = b""
    comment: bytes = b""
    crc: int | None = None
    packed_bytes: int | None = None
    size_bytes: int | None = None
    offset: int | None = None
    local: dict[str, object] = field(default_factory=dict)

    @property
    def packed(self) -> bytes:
        if self.method != 8:
            return self.content
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(self.content) + packer.flush()

    def numbers(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        packed = len(self.packed) if self.packed_bytes is None else self.packed_bytes
        return crc, packed, len(self.content) if self.size_bytes is None else self.size_bytes

    def header(self) -> bytes:
        here = replace(self, **self.local)  # type: ignore[arg-type]  # names of fields, given by a test
        fields = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, here.flags, here.method, 0, 33, *here.numbers(), len(here.name), len(here.extra)
        )
        return fields + here.name + here.extra

    def entry(self, offset: int) -> bytes:
        return (
            struct.pack(
                "<4s4B4H3L5H2L",
                b"PK\1\2",
                20,
                self.system,
                20,
                0,
                self.flags,
                self.method,
                0,
                33,
                *self.numbers(),
                *self._tail(offset),
            )
            + self.name
            + self.extra
            + self.comment
        )

    def _tail(self, offset: int) -> tuple[int, ...]:
        attributes = self.mode << 16 | self.low_attributes
        lengths = (len(self.name), len(self.extra), len(self.comment))
        return (*lengths, 0, 0, attributes, offset if self.offset is None else self.offset)


MANIFEST = Member(b"mecapy.yml", b'version: "1"\n')


def build(
    members: Sequence[Member],
    *,
    comment: bytes = b"",
    prefix: bytes = b"",
    between: bytes = b"",
    told: int | None = None,
    manifest: bytes = MANIFEST.content,
) -> bytes:
    """Manifest and members, directory, end. `prefix` stands before all and is counted in every offset."""
    data, entries = bytearray(prefix), bytearray()
    for member in (replace(MANIFEST, content=manifest), *members):
        entries += member.entry(len(data))
        data += member.header() + member.packed
    start = len(data)
    data += entries + between
    count = len(members) + 1 if told is None else told
    return bytes(data) + end(count, len(entries), start, comment)


def end(count: int, directory_bytes: int, start: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, directory_bytes, start, len(comment)) + comment


def extra_field(kind: int, content: bytes) -> bytes:
    return struct.pack("<2H", kind, len(content)) + content


def zip64_end(directory_bytes: int, start: int, count: int, at: int) -> bytes:
    """The record and its locator, as they stand before an ordinary end."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, directory_bytes, start)
    return record + struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
