"""Serves several calls of one function in one worker, whose module stays loaded.

What a call could change of its process is put back as it was once the module was loaded. What cannot be put back, or is
there and was not (a thread, a process, a file that is held otherwise), ends the worker: the next call gets another.

Here the tenant's code has run: this is order among the calls of one function, not a fence between tenants. Workspace,
time and memory are kept by the stem.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the package's enumerations, each of which costs a microsecond
import gc
import os
import resource
import signal
import sys

from _mecapy_guest import confine, runner

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    import socket
    from typing import Any

ORDER_BYTES = 1 << 18
OVER = b"over"
OWN_PIDS = {"1", "2"}  # the first process of the namespace, and this one
KERNEL_OBJECTS = ("shm", "msg", "sem")
LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
SIGNALS = tuple(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
START = "/workspace/scratch"


class ProcessState:
    """What every call of this worker finds as it is now."""

    def __init__(self) -> None:
        self.descriptors = _descriptors()
        self.handlers = [(number, _signal.getsignal(number)) for number in SIGNALS]
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.environment = dict(os.environ)
        self.streams = sys.stdin, sys.stdout, sys.stderr
        self.fixed = _fixed()
        self.umask = os.umask(0o022)
        os.umask(self.umask)

    def restore(self) -> bool:
        """Put it back. False where that cannot be, or something goes on: then this worker must end."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        for number, handler in self.handlers:
            if _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
        held = _descriptors()
        for number in held.keys() - self.descriptors.keys():
            os.close(number)
            del held[number]
        os.umask(self.umask)
        os.chdir(START)
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        sys.stdin, sys.stdout, sys.stderr = self.streams
        return held == self.descriptors and _fixed() == self.fixed and not _something_goes_on()


def serve(orders: socket.socket, report: socket.socket, data_fd: int, order: dict[str, Any], calls: int) -> int:
    """Up to `calls` calls, each told as over, but for the last, which ends with this process: its exit code."""
    loaded = runner.Loaded(order["handler"], has_site=order["site"])
    state = ProcessState()
    for left in range(calls, 0, -1):
        _take_inputs(orders, data_fd)
        code: int = runner.run(order, loaded)
        if code != 0 or left == 1 or not _is_as_it_was(state):
            return code
        report.send(OVER)
    return 0


def _take_inputs(orders: socket.socket, data_fd: int) -> None:
    message = orders.recv(ORDER_BYTES)
    if not message:  # nobody is there any more, and nothing was lost
        os._exit(0)
    os.ftruncate(data_fd, 0)
    os.pwrite(data_fd, message, 0)


def _is_as_it_was(state: ProcessState) -> bool:
    """Whatever a call left that hinders this ends the worker too."""
    confine.flush_c_streams()
    gc.collect(0)
    try:
        return state.restore()
    except Exception:  # noqa: BLE001 - the user's code may have replaced what is used here
        return False


def _descriptors() -> dict[int, tuple[int, int]]:
    """Every open one, and what it stands for."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            seen = os.fstat(int(name))
        except OSError:
            continue  # of this listing itself
        found[int(name)] = (seen.st_dev, seen.st_ino)
    return found


def _fixed() -> tuple[object, ...]:
    """What is not put back: a change of it ends the worker."""
    return (
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getaffinity(0),
        os.getsid(0),
        os.getpgid(0),
        [resource.getrlimit(kind) for kind in LIMITS],
        len(os.listdir("/proc/self/task")),
    )


def _something_goes_on() -> bool:
    """A process of the call, also one that nobody waited for; an object of the kernel that outlives its maker."""
    if {name for name in os.listdir("/proc") if name.isdigit()} != OWN_PIDS:
        return True
    for name in KERNEL_OBJECTS:
        descriptor = os.open(f"/proc/sysvipc/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(descriptor, 4096).count(b"\n")
        finally:
            os.close(descriptor)
        if lines > 1:
            return True
    return False
