"""The steps of a warm call by the small library built from csource/.

By stem.py and fallback.py, slower, where it was not built.

Only our own code calls these: nothing of a tenant is loaded before `seal` has returned.
"""

from __future__ import annotations

import ctypes
import os

from _mecapy_guest import confine

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

    from _mecapy_guest.confine import FileRules

LIBRARY = "/mecapy/_mecapy_guest/_guest.so"
MAX_RANGES, RANGE_BYTES = 2048, 16  # as in csource/pages.c
STATE_NUMBERS = 64  # as in csource/state.c


def _load() -> ctypes.PyDLL | None:
    """Without giving up the interpreter's lock in a call: a slot forks as `os.fork` does."""
    try:
        library = ctypes.PyDLL(LIBRARY)
    except OSError:
        return None
    rights = [ctypes.c_uint64] * 4
    library.mecapy_seal.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        *rights,
        ctypes.c_char_p,
        ctypes.c_ushort,
        ctypes.c_uint,
    ]
    return library


_library = _load()
IS_NATIVE = _library is not None


def become_stem() -> None:
    """Give this process a network of its own and leave it what a call's mounts and the next network need."""
    if _library is None:
        from _mecapy_guest import fallback

        fallback.become_stem()
    else:
        _checked(_library.mecapy_become_stem())


def serve_slot(channel: int) -> bool:
    """Serve a slot; True in each worker that was forked for a call, False in the stem when nobody listens any more.

    A worker has its output as 1 and 2, the channel of its order as call.ORDER_FD and in/data.json, to write, as
    call.DATA_FD.
    """
    if _library is None:
        from _mecapy_guest import stem

        is_worker: bool = stem.serve_slot(channel)
        return is_worker
    ctypes.pythonapi.PyOS_BeforeFork()
    if _checked(_library.mecapy_serve_slot(channel)) != 0:
        return False
    ctypes.pythonapi.PyOS_AfterFork_Child()
    return True


def in_workspace(work: Callable[[], object]) -> None:
    """In the zygote: run `work` where a call's workspace is mounted, and take that away again."""
    if _library is None:
        return
    _checked(_library.mecapy_enter_workspace())
    work()
    for place in (
        "/package",
        "/workspace/in",
        "/proc",
        "/dev/shm",  # noqa: S108 - inside
        "/tmp",  # noqa: S108 - inside
        "/workspace/scratch",
        "/workspace/out",
        "/mnt",
    ):
        _checked(_library.mecapy_hide(place.encode()))


def rehearse(work: Callable[[], object]) -> int:
    """In the zygote: run `work` in a fork that has a call's workspace, and remember which pages it wrote.

    Gives how many ranges.
    """
    if _library is None:
        return 0
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        try:
            confine.prefer_for_oom()  # and with it, readable for itself
            _checked(_library.mecapy_enter_workspace())
            work()
            found = (ctypes.c_uint64 * (2 * MAX_RANGES))()
            count = _checked(_library.mecapy_pages_written(found, MAX_RANGES))
            os.write(write_end, bytes(found)[: count * RANGE_BYTES])
        except OSError as error:
            os.write(2, f"warm sandbox: no rehearsal: {error}\n".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as source:
        ranges = source.read()
    _library.mecapy_remember_pages(ranges, len(ranges) // RANGE_BYTES)
    return len(ranges) // RANGE_BYTES


def show(source: str, target: str) -> None:
    """For a rehearsal: bind a folder where a call would have it."""
    assert _library is not None
    _checked(_library.mecapy_show(source.encode(), target.encode()))


def seal(options: bytes, package: bytes, rules: FileRules, program: bytes, first_closed: int) -> None:
    """The last step: no mount, capability or system call beyond the allow-list is left.

    Closes descriptors from `first_closed` on.
    """
    if _library is None:
        from _mecapy_guest import fallback

        fallback.seal(options, package, rules, program, first_closed)
    else:
        _checked(_library.mecapy_seal(options, package, *rules, program, len(program) // 8, first_closed))


def begin_calls() -> None:
    """In a worker that calls will share, before it is sealed: what it forks is in a PID namespace of its own."""
    assert _library is not None
    _checked(_library.mecapy_begin_calls())


def fork_calls() -> int:
    """Fork for each call that the stem asks for: the handler's number in each fork, -1 in the worker at the end."""
    assert _library is not None
    ctypes.pythonapi.PyOS_BeforeFork()
    handler = int(_library.mecapy_fork_calls())
    if handler >= 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    return handler


def await_call() -> int:
    """The next call of a worker that runs them itself: the handler's number, -1 at the end."""
    assert _library is not None
    return int(_library.mecapy_await_call())


class ProcessState:
    """What every call of a worker that is kept finds of its process as it is now; without the library there is none."""

    def __init__(self) -> None:
        assert _library is not None
        held = []
        for name in os.listdir("/proc/self/fd"):
            try:
                seen = os.fstat(int(name))
            except OSError:
                continue  # of this listing itself
            held.append((int(name), seen.st_dev, seen.st_ino))
        numbers = [number for known in sorted(held) for number in known]
        self._known = (ctypes.c_uint64 * len(numbers))(*numbers)
        self._count = len(held)
        self._found = (ctypes.c_uint64 * STATE_NUMBERS)()
        self._look, self._close_others = _library.mecapy_process_state, _library.mecapy_close_others
        _checked(self._look(self._found))
        self._numbers = bytes(self._found)

    def close_others(self) -> bool:
        """Close what was opened since. False where a descriptor is no longer what it was."""
        return bool(self._close_others(self._known, self._count) == 0)

    def is_as_it_was(self) -> bool:
        """False where what cannot be put back has changed, or a process or an object of the kernel is left."""
        return bool(self._look(self._found) == 0) and bytes(self._found) == self._numbers


def _checked(answer: int) -> int:
    if answer < 0:
        assert _library is not None
        step = ctypes.c_char_p.in_dll(_library, "mecapy_step").value or b""
        raise OSError(-answer, f"{step.decode()}: {os.strerror(-answer)}")
    return answer
