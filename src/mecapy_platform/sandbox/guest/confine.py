"""What a sandbox's first process still does to itself, inside.

Not readable by its children, Landlock where the kernel has it.
"""

import ctypes
import os
import sys

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
FILES_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
FILES_READ = 0b1101  # execute, read file, read folder
FILES_WRITE = (1 << 13) - 1 & ~(1 << 6) & ~(1 << 11)  # everything but making devices
SCOPES = 0b11  # no abstract unix sockets and no signals to the outside
WRITABLE = ("/workspace/out", "/workspace/scratch", "/tmp", "/dev")  # noqa: S108 - inside the sandbox

SHOWN_NAME = b"mecapy"
ARGUMENTS_START = 45  # in /proc/self/stat, counted from the state on

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scopes", ctypes.c_uint64)]


class _Rule(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("access", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def hide_from_children() -> None:
    """Our memory and descriptors are not readable through /proc, not even by the same user."""
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def take_arguments() -> str:
    """The order of this process, its last argument; from now on its command line says nothing but whose it is.

    The kernel shows the bytes that it laid there: whoever is forked from here has the same, and may look.
    """
    order = sys.argv[-1]
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[ARGUMENTS_START]), int(fields[ARGUMENTS_START + 1])
    if end - start > len(SHOWN_NAME):
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, SHOWN_NAME, len(SHOWN_NAME))
    sys.argv[:] = sys.orig_argv[:] = [""]
    return order


def flush_c_streams() -> None:
    """Write out what libraries in C hold in their own buffers."""
    _libc.fflush(None)


def prefer_for_oom() -> None:
    """When memory ends, the kernel shall take the user's processes and not the one that reports about them."""
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # first: the files below /proc/self are root's until then
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


FileRules = tuple[
    int, int, int, int
]  # all rights handled, those below /, those below WRITABLE, scopes; all 0 without Landlock


def file_rules() -> FileRules:
    """The rules of a sandbox, as far as this kernel knows them."""
    version: int = _libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return 0, 0, 0, 0
    files = FILES_ALL[min(version, 3)]
    return files, FILES_READ, files & (FILES_WRITE | (1 << 13) | (1 << 14)), SCOPES if version >= 6 else 0


def restrict() -> bool:
    """Landlock: files once more by rule, signals and abstract sockets scoped. False where the kernel has none."""
    files, read, write, scopes = file_rules()
    if files == 0:
        return False
    rules = _Ruleset(files, 0, scopes)
    size = 24 if scopes else 8
    ruleset = _libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    _allow(ruleset, "/", read)
    for folder in WRITABLE:
        _allow(ruleset, folder, write)
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    holds: bool = _libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0
    os.close(ruleset)
    return holds


def _allow(ruleset: int, folder: str, access: int) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    rule = _Rule(access, descriptor)
    _libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, ctypes.byref(rule), ctypes.c_uint32(0))
    os.close(descriptor)
