"""The few system calls that Python 3.11 does not offer: namespaces, mounts, prctl."""

import ctypes
import errno
import os
import signal
import stat

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _check(answer: int, what: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    answer = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _check(answer, f"mount on {target}")


def open_real(path: str) -> int:
    """A descriptor (`O_PATH`) of what lies at exactly this absolute path.

    A path is judged by its text. Whoever may write a folder of it could put a link there afterwards: one is refused
    here, in any place, and what was opened is used by its descriptor alone.
    """
    *folders, last = path.strip("/").split("/")
    found = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name, kind in (*((name, os.O_DIRECTORY) for name in folders), (last or ".", 0)):
        above = found
        try:
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=above)
        finally:
            os.close(above)
    if stat.S_ISLNK(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.ELOOP, f"a symbolic link: {path}")
    return found


def bind(source: int, target: str) -> None:
    """Show what a descriptor stands for at `target`."""
    mount(f"/proc/self/fd/{source}", target, "", MS_BIND)


def prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` ends; ends at once when it is already gone."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def private_mounts(*, with_user_namespace: bool) -> None:
    """Enter a mount namespace of our own, where nothing we mount is seen outside and all of it goes with us."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWNS | (CLONE_NEWUSER if with_user_namespace else 0))
    if with_user_namespace:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - pathlib is not imported in the spawner's hot path
                file.write(text)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
