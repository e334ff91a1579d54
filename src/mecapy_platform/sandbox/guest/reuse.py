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
import signal
import sys

from _mecapy_guest import confine, native, runner

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    import socket
    from typing import Any

ORDER_BYTES = 1 << 18
OVER = b"over"
SIGNALS = tuple(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
TIMERS = tuple(int(timer) for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF))
START = "/workspace/scratch"


class WorkerState:
    """What every call of this worker finds as it is now."""

    def __init__(self) -> None:
        self.process = native.ProcessState()
        self.handlers = [(number, _signal.getsignal(number)) for number in SIGNALS]
        self.mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        self.environment = dict(_variables())
        self.streams = sys.stdin, sys.stdout, sys.stderr
        self.umask = os.umask(0o022)
        os.umask(self.umask)

    def restore(self) -> bool:
        """Put it back. False where that cannot be, or something goes on: then this worker must end."""
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self.mask)
        for timer in TIMERS:
            _signal.setitimer(timer, 0)
        for number, handler in self.handlers:
            if _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
        if not self.process.close_others():
            return False
        os.umask(self.umask)
        os.chdir(START)
        kept = _variables()
        if kept != self.environment:
            os.environ.clear()
            kept.update(self.environment)
            for name, value in self.environment.items():
                os.putenv(name, value)
        sys.stdin, sys.stdout, sys.stderr = self.streams
        is_whole: bool = self.process.is_as_it_was()
        return is_whole


def _variables() -> dict[bytes, bytes]:
    """The environment as it is kept: compared without reading each of it as text."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001


def serve(orders: socket.socket, report: socket.socket, data_fd: int, order: dict[str, Any], calls: int) -> int:
    """Up to `calls` calls, each told as over, but for the last, which ends with this process: its exit code."""
    loaded = runner.Loaded(order["handler"], has_site=order["site"])
    state = WorkerState()
    room = memoryview(bytearray(ORDER_BYTES))  # once: made for each call it would be mapped and unmapped
    for left in range(calls, 0, -1):
        _take_inputs(orders, data_fd, room)
        code: int = runner.run(order, loaded)
        if code != 0 or left == 1 or not is_as_it_was(state):
            return code
        report.send(OVER)
    return 0


def _take_inputs(orders: socket.socket, data_fd: int, room: memoryview) -> None:
    size = orders.recv_into(room)
    if size == 0:  # nobody is there any more, and nothing was lost
        os._exit(0)
    os.ftruncate(data_fd, 0)
    os.pwrite(data_fd, room[:size], 0)


def is_as_it_was(state: WorkerState) -> bool:
    """Whatever a call left that hinders this ends the worker too."""
    confine.flush_c_streams()
    gc.collect(0)
    try:
        return state.restore()
    except Exception:  # noqa: BLE001 - the user's code may have replaced what is used here
        return False
