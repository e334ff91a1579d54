"""Whose limit it was, when the kernel killed in a control group for memory: the group's own, or another's.

The kernel counts a kill in the group of its victim, whoever ran out: the group, one above it, or the whole machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

SLACK_BYTES = 1 << 20  # what is asked for at once may be as much above the limit as is left below it


@dataclass(frozen=True)
class MemoryKills:
    """`own`: because the group was at its limit. `others`: it was below, and the machine or a group above was not."""

    own: int = 0
    others: int = 0


def count_memory_kills(read: Callable[[str], str], version: int, *, was_told: bool = True) -> MemoryKills:
    """From the files of the memory controller, which `read` gives by name.

    `was_told`: the kernel rang for this group, as version 1 does for a group that ran out and for all below it, but not
    when the whole machine did.
    """
    if version == 1:
        killed = _member(read("memory.oom_control"), "oom_kill")
        was_full = killed > 0 and was_told and any(_was_full(read, kind) for kind in ("memory", "memory.memsw"))
    else:
        events = read("memory.events")
        killed, was_full = _member(events, "oom_kill"), _member(events, "oom") > 0
    return MemoryKills(own=killed) if was_full else MemoryKills(others=killed)


def _member(text: str, name: str) -> int:
    pairs = (line.split() for line in text.splitlines())
    return next((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] == name), 0)


def _was_full(read: Callable[[str], str], kind: str) -> bool:
    """Some kernels do not count failures of memory with swap, so that what was used at most decides as well."""
    limit = _number(read, f"{kind}.limit_in_bytes")
    is_reached = limit > 0 and _number(read, f"{kind}.max_usage_in_bytes") > limit - SLACK_BYTES
    return is_reached or _number(read, f"{kind}.failcnt") > 0


def _number(read: Callable[[str], str], name: str) -> int:
    try:
        text = read(name).strip()
    except OSError:  # no swap accounting
        return 0
    return int(text) if text.isdigit() else 0
