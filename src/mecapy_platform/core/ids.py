"""Identifiers that sort by time."""

import secrets
import time
from uuid import UUID


def uuid7(milliseconds: int) -> UUID:
    """Version 7 of RFC 9562: 48 bits of Unix time in milliseconds, the rest random."""
    value = (milliseconds & ((1 << 48) - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def new_id() -> UUID:
    """An id of now."""
    return uuid7(time.time_ns() // 1_000_000)


def as_plain(value: object) -> str:
    """An id as JSON has it, for `json.dumps(default=..)`. Raises TypeError for anything else, as json does."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no value of JSON")
