"""The steps of a warm call by the small library built from csource/guest.c; by fallback.py, slower, where it was not built.

Only our own code calls these: nothing of a tenant is loaded before `seal` has returned.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from _mecapy_guest.confine import FileRules

LIBRARY = "/mecapy/_mecapy_guest/_guest.so"


def _load() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    rights = [ctypes.c_uint64] * 4
    library.mecapy_seal.argtypes = [ctypes.c_char_p, ctypes.c_char_p, *rights, ctypes.c_char_p, ctypes.c_ushort, ctypes.c_uint]
    return library


_library = _load()
IS_NATIVE = _library is not None


def become_stem() -> None:
    """Give this process a network of its own and leave it the two capabilities that a call's mounts need."""
    if _library is None:
        from _mecapy_guest import fallback

        fallback.become_stem()
    else:
        _checked(_library.mecapy_become_stem())


def begin() -> tuple[int, int]:
    """Make a PID namespace with its first process: (pid, pidfd). What is forked next is in it too."""
    if _library is None:
        from _mecapy_guest import fallback

        pid, descriptor = fallback.begin()
        return pid, descriptor
    pidfd = ctypes.c_int(-1)
    return _checked(_library.mecapy_begin(ctypes.byref(pidfd))), pidfd.value


def return_to(pid_namespace: int) -> None:
    """Later children are made in this PID namespace again."""
    if _library is None:
        from _mecapy_guest import fallback

        fallback.return_to(pid_namespace)
    else:
        _checked(_library.mecapy_return_to(pid_namespace))


def enter(options: bytes) -> int:
    """Mounts, message queues and a workspace of one call. Gives a descriptor of the workspace's top."""
    if _library is None:
        from _mecapy_guest import fallback

        top: int = fallback.enter(options)
        return top
    return _checked(_library.mecapy_enter(options))


def seal(options: bytes, package: bytes, rules: FileRules, program: bytes, first_closed: int) -> None:
    """The last step: no mount, capability or system call beyond the allow-list is left. Closes descriptors from `first_closed` on."""
    if _library is None:
        from _mecapy_guest import fallback

        fallback.seal(options, package, rules, program, first_closed)
    else:
        _checked(_library.mecapy_seal(options, package, *rules, program, len(program) // 8, first_closed))


def _checked(answer: int) -> int:
    if answer < 0:
        assert _library is not None
        step = ctypes.c_char_p.in_dll(_library, "mecapy_step").value or b""
        raise OSError(-answer, f"{step.decode()}: {os.strerror(-answer)}")
    return answer
