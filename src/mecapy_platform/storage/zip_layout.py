"""Where the members of a zip lie, by the header before each.

It must say what the directory says, and share no byte with another.
"""

import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO

SIGNATURE = b"PK\x03\x04"
HEADER = struct.Struct("<4s5H3L2H")
FLAG_ENCRYPTED = 0x1
FLAG_SIZES_FOLLOW = 0x8
FLAG_UTF8 = 0x800
FLAGS_THAT_COUNT = FLAG_ENCRYPTED | FLAG_UTF8
ELSEWHERE = 0xFFFFFFFF  # a size that stands in the extra field


def layout_faults(
    source: BinaryIO, infos: Sequence[zipfile.ZipInfo], directory_start: int
) -> Iterator[tuple[zipfile.ZipInfo, str, str]]:
    """Member, code and sentence of each that does not lie as the directory says."""
    end = 0
    for info in sorted(infos, key=lambda item: item.header_offset):
        source.seek(max(0, info.header_offset))
        raw = source.read(HEADER.size)
        if len(raw) < HEADER.size or not raw.startswith(SIGNATURE) or info.header_offset < 0:
            yield info, "header_differs", "there is no such member where the directory points."
            continue
        names_bytes, extra_bytes = HEADER.unpack(raw)[9:]
        if info.header_offset < end:
            yield info, "overlap", "its data overlaps another member's."
        elif end == 0 and info.header_offset > 0:
            yield info, "overlap", "data that belongs to no member stands before it."
        name = source.read(names_bytes)
        if (what := _difference(info, raw, name)) is not None:
            yield info, "header_differs", f"the header before its data tells another {what} than the directory."
        end = info.header_offset + HEADER.size + names_bytes + extra_bytes + info.compress_size
        if end > directory_start:
            yield info, "overlap", "its data runs into the directory."


def _difference(info: zipfile.ZipInfo, raw: bytes, name: bytes) -> str | None:
    _signature, _version, flags, method, _time, _date, crc, packed, size, _names, _extra = HEADER.unpack(raw)
    if name != info.orig_filename.encode("utf-8" if info.flag_bits & FLAG_UTF8 else "cp437"):
        return "name"
    if method != info.compress_type:
        return "compression"
    if flags & FLAGS_THAT_COUNT != info.flag_bits & FLAGS_THAT_COUNT:
        return "flag"
    told = ((crc, info.CRC), (packed, info.compress_size), (size, info.file_size))
    silent = {0, ELSEWHERE} if flags & FLAG_SIZES_FOLLOW else {ELSEWHERE}
    if any(here != there and here not in silent for here, there in told):
        return "size or checksum"
    return None
