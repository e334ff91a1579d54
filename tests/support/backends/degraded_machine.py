"""A program of the tests.

Makes a machine that lacks something, for itself and all that it starts, then becomes another program.

    python degraded_machine.py LACK[,LACK..] PROGRAM ARGUMENT..

Standard library only, and run by path: whatever it starts inherits the lack, the host stays as it is.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable
from pathlib import Path

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
PRIVATE, READ_ONLY, REMOUNT, BIND, RECURSIVE = 0x40000, 0x1, 0x20, 0x1000, 0x4000
SET_SECCOMP, FILTER, NO_NEW_PRIVILEGES = 22, 2, 38
LANDLOCK = (444, 445, 446)  # the same on every architecture
CALLS = {"x86_64": {"seccomp": 317, "prctl": 157}, "aarch64": {"seccomp": 277, "prctl": 167}}[platform.machine()]
LOAD, EQUAL, RETURN, ALLOW, ANSWER = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
CGROUPS = "/sys/fs/cgroup"

_libc = ctypes.CDLL(None, use_errno=True)


def without_cgroups() -> None:
    """Nothing is mounted where control groups are looked for."""
    _private_mounts()
    _check(_libc.mount(b"none", CGROUPS.encode(), b"tmpfs", READ_ONLY, b"size=4k"), "mount")


def with_empty_cgroups_v2() -> None:
    """Version 2 is there, its controllers are not: they are taken by version 1, as on a machine half way between."""
    _private_mounts()
    _check(_libc.mount(b"none", CGROUPS.encode(), b"cgroup2", 0, None), "mount")


def with_read_only_cgroups() -> None:
    """As in most containers: they are seen and cannot be made."""
    _private_mounts()
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    for place in places:
        if place == CGROUPS or place.startswith(f"{CGROUPS}/"):
            _check(_libc.mount(None, place.encode(), None, REMOUNT | BIND | READ_ONLY, None), place)


def without_landlock() -> None:
    """A kernel built without it."""
    _filter([(call, errno.ENOSYS) for call in LANDLOCK])


def with_landlock_off() -> None:
    """A kernel that has it and was started without it."""
    _filter([(call, errno.EOPNOTSUPP) for call in LANDLOCK])


def without_seccomp() -> None:
    """A kernel built without system call filters. The filter that says so is the last one that this tree gets."""
    load_first = struct.pack("<HBBI", LOAD, 0, 0, 16)
    look = struct.pack("<HBBI", EQUAL, 0, 4, CALLS["prctl"]) + load_first
    look += b"".join(
        struct.pack("<HBBI", *item) for item in ((EQUAL, 0, 1, SET_SECCOMP), (RETURN, 0, 0, ANSWER | errno.EINVAL))
    )
    look += struct.pack("<HBBI", RETURN, 0, 0, ALLOW)
    _filter([(CALLS["seccomp"], errno.ENOSYS)], look)


def without_user_namespaces() -> None:
    """A namespace in which everybody is who they were and no further one is left."""
    if os.geteuid() == 0:
        _as_everybody()
    else:
        _as_oneself()
    _check(_libc.unshare(NEW_MOUNTS), "unshare")
    Path("/proc/sys/user/max_user_namespaces").write_text("0", "ascii")


def _as_everybody() -> None:
    """Maps of more than one user are written from outside, so a child does it."""
    ask, tell = os.pipe()
    done, end = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        os.read(ask, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{parent}/{name}").write_text("0 0 4294967295", "ascii")
        os._exit(0)
    os.close(end)
    _check(_libc.unshare(NEW_USER), "unshare")
    os.write(tell, b"x")
    os.read(done, 1)
    for fd in (ask, tell, done):
        os.close(fd)
    os.wait()


def _as_oneself() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(NEW_USER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text, "ascii")


def _private_mounts() -> None:
    _check(_libc.unshare(NEW_MOUNTS), "unshare")
    _check(_libc.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None), "mount")


def _filter(answers: list[tuple[int, int]], more: bytes = b"") -> None:
    program = struct.pack("<HBBI", LOAD, 0, 0, 0)
    for call, number in answers:
        program += struct.pack("<HBBI", EQUAL, 0, 1, call) + struct.pack("<HBBI", RETURN, 0, 0, ANSWER | number)
    program += more + struct.pack("<HBBI", RETURN, 0, 0, ALLOW)
    if os.geteuid() != 0:
        _check(_libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    kept = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    whole = Program(len(program) // 8, ctypes.addressof(kept))
    _check(_libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(whole), 0, 0), "prctl")


def _check(answer: int, what: str) -> None:
    if answer != 0:
        raise OSError(ctypes.get_errno(), what)


LACKS: dict[str, Callable[[], None]] = {
    "cgroups": without_cgroups,
    "writable-cgroups": with_read_only_cgroups,
    "cgroup-controllers": with_empty_cgroups_v2,
    "landlock": without_landlock,
    "enabled-landlock": with_landlock_off,
    "seccomp": without_seccomp,
    "user-namespaces": without_user_namespaces,
    "nothing": lambda: None,
}

if __name__ == "__main__":
    for lack in sys.argv[1].split(","):
        LACKS[lack]()
    os.execvp(sys.argv[2], sys.argv[2:])
