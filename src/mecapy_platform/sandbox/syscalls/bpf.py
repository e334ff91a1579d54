"""The system call filter of every sandbox: an allow-list, assembled to a BPF program. Standard library only.

The rules: a table of allowed calls; a few are looked at more closely (`clone`, `socket`, `ioctl`, ..). A call that is
known but not allowed answers EPERM, one that would flush a disk answers 0 and does nothing, one that is newer than the
table ENOSYS, another architecture's call kills the process.
"""

import errno
import os
import platform
import struct
from dataclasses import dataclass

from mecapy_platform.sandbox.syscalls import tables

LOAD, JUMP, EQUAL, AT_LEAST, SOME_BITS, RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
FIRST_ARGUMENT_AT, SECOND_ARGUMENT_AT, THIRD_ARGUMENT_AT = 16, 24, 32  # low halves, little-endian
ALLOW, KILL = 0x7FFF0000, 0x80000000
DENY = 0x00050000 | errno.EPERM
DONE = 0x00050000  # answers 0, and nothing is done
UNKNOWN = 0x00050000 | errno.ENOSYS
NO_FAMILY = 0x00050000 | errno.EAFNOSUPPORT
NO_PROTOCOL = 0x00050000 | errno.EPROTONOSUPPORT

# CLONE_NEWNS CGROUP UTS IPC USER PID NET, and NEWTIME (which clone reads as a signal bit; never used by a thread)
NEW_NAMESPACES = 0x7E020080
FAMILIES = (1, 2, 10)  # unix, IPv4, IPv6: there is no network behind them, only the loopback of the run itself
PROTOCOLS = (0, 6, 17)  # the usual one, TCP, UDP: no ping, SCTP, DCCP, MPTCP, UDP-Lite
TELLING_OF_OTHERS = (
    1024,
    1026,
)  # F_SETLEASE, F_NOTIFY: they tell when another sandbox opens a file that both see, as inotify would
FLUSHING = (
    "sync",
    "syncfs",
    "fsync",
    "fdatasync",
    "sync_file_range",
)  # all that can be written here is memory; on what else is seen they would flush the host's disks
TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
PERSONALITIES = (0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)


@dataclass(frozen=True)
class Architecture:
    audit: int
    table: str
    clone3: int


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, tables.X86_64, 435),
    "aarch64": Architecture(0xC00000B7, tables.AARCH64, 435),
}


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def assemble(machine: str, extra: str = "") -> bytes:
    """Give the filter for `machine` ("x86_64" or "aarch64") as an array of `struct sock_filter`; `extra`.

    A table of more allowed calls.
    """
    architecture = ARCHITECTURES[machine]
    allowed = tables.numbers(architecture.table) | tables.numbers(extra)
    program = _op(LOAD, ARCHITECTURE_AT) + _op(EQUAL, architecture.audit, 1, 0) + _op(RETURN, KILL)
    program += _op(LOAD, NUMBER_AT)
    program += _op(EQUAL, architecture.clone3, 0, 1) + _op(
        RETURN, UNKNOWN
    )  # its arguments lie in memory: glibc falls back to clone
    newest = max(allowed.values())
    program += _op(AT_LEAST, newest + 1, 0, 1) + _op(RETURN, UNKNOWN)  # the numbers of the x32 ABI as well
    for name, body in _closer_looks().items():
        if name in allowed:
            program += _op(EQUAL, allowed[name], 0, len(body) // 8) + body
    return program + _tree(_ranges(sorted(allowed.values())))


def assemble_last(machine: str) -> bytes:
    """The small filter on top of `assemble(machine, SETUP[machine])`: it leaves what `assemble(machine)` allows."""
    program = (
        _op(LOAD, ARCHITECTURE_AT)
        + _op(EQUAL, ARCHITECTURES[machine].audit, 1, 0)
        + _op(RETURN, KILL)
        + _op(LOAD, NUMBER_AT)
    )
    for number in sorted(tables.numbers(tables.SETUP[machine]).values()):
        program += _op(EQUAL, number, 0, 1) + _op(RETURN, DENY)
    return program + _op(RETURN, ALLOW)


def filter_descriptor(program: bytes) -> int:
    """A memory file with a filter, as `bwrap --seccomp` reads it."""
    descriptor = os.memfd_create("filter")
    os.write(descriptor, program)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _closer_looks() -> dict[str, bytes]:
    """Programs for calls whose argument decides; each ends in a verdict."""
    clone = (
        _op(LOAD, FIRST_ARGUMENT_AT)
        + _op(SOME_BITS, NEW_NAMESPACES & ~0x80, 0, 1)
        + _op(RETURN, DENY)
        + _op(RETURN, ALLOW)
    )
    return {
        "clone": clone,
        "socket": _unless(FIRST_ARGUMENT_AT, FAMILIES, NO_FAMILY)
        + _one_of(THIRD_ARGUMENT_AT, PROTOCOLS, ALLOW, NO_PROTOCOL),
        "socketpair": _one_of(FIRST_ARGUMENT_AT, FAMILIES[:1], ALLOW, NO_FAMILY),
        "fcntl": _one_of(SECOND_ARGUMENT_AT, TELLING_OF_OTHERS, DENY, ALLOW),
        "ioctl": _one_of(SECOND_ARGUMENT_AT, TERMINAL_INJECTION, DENY, ALLOW),
        "personality": _one_of(FIRST_ARGUMENT_AT, PERSONALITIES, ALLOW, DENY),
        **{name: _op(RETURN, DONE) for name in FLUSHING},
    }


def _one_of(offset: int, values: tuple[int, ...], found: int, otherwise: int) -> bytes:
    program = _op(LOAD, offset)
    for value in values:
        program += _op(EQUAL, value, 0, 1) + _op(RETURN, found)
    return program + _op(RETURN, otherwise)


def _unless(offset: int, values: tuple[int, ...], otherwise: int) -> bytes:
    """Go on when the argument is one of `values`."""
    program = _op(LOAD, offset)
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        program += _op(EQUAL, value, left, 0)
    return program + _op(RETURN, otherwise)


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _tree(ranges: list[tuple[int, int]]) -> bytes:
    """Search the sorted ranges in halves; every leaf ends in a verdict."""
    if len(ranges) == 1:
        first, last = ranges[0]
        below = _op(AT_LEAST, first, 1, 0) + _op(RETURN, DENY)
        return below + _op(AT_LEAST, last + 1, 0, 1) + _op(RETURN, DENY) + _op(RETURN, ALLOW)
    middle = len(ranges) // 2
    low = _tree(ranges[:middle])
    skip = len(low) // 8
    if skip > 255:
        return _op(AT_LEAST, ranges[middle][0], 0, 1) + _op(JUMP, skip) + low + _tree(ranges[middle:])
    return _op(AT_LEAST, ranges[middle][0], skip, 0) + low + _tree(ranges[middle:])


_MACHINE = platform.machine()
_IS_KNOWN = _MACHINE in ARCHITECTURES
PROGRAM = assemble(_MACHINE) if _IS_KNOWN else b""  # of a sandbox for one run
ZYGOTE_PROGRAM = assemble(_MACHINE, tables.SETUP[_MACHINE]) if _IS_KNOWN else b""  # of what confines warm calls
LAST_PROGRAM = assemble_last(_MACHINE) if _IS_KNOWN else b""  # and of the calls, on top of it
