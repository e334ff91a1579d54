"""PID 1 of a sandbox: starts the user's process, passes a stop on to everything, reaps, reports how it ended.

Standard library only, Python >= 3.10, and as few imports as possible: every millisecond here is paid by each call.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the package around it, whose enumerations cost milliseconds
import os
import sys

sys.path.insert(0, "/mecapy")

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn

CONTROL_FD = 3
STATUS_FD = 4


def main() -> None:
    from _mecapy_guest import confine

    confine.hide_from_children()
    order = confine.take_arguments()
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if child == 0:
        _be_the_user(confine, order)
    os.closerange(0, 3)  # the user's output ends with the user's processes
    _watch(child, wake_read)


def _be_the_user(confine: ModuleType, order: str) -> NoReturn:
    """Never returns: becomes the process that runs the handler, with nothing of ours open."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.closerange(3, 1024)
        confine.prefer_for_oom()
        confine.restrict()
        from _mecapy_guest import runner

        sys.modules["__main__"] = type(sys)("__main__")  # what `multiprocessing` would start again in its children

        code = runner.main(order)
    finally:
        os._exit(code)


def _watch(child: int, wake_read: int) -> NoReturn:
    from select import select

    control = [CONTROL_FD]
    while True:
        ready = select([wake_read, *control], [], [])[0]
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(child)
        if CONTROL_FD in ready:
            if not os.read(CONTROL_FD, 16):
                _end(b"")
            _signal_all(signal.SIGTERM)


def _reap(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            _end(b"exit %d %d" % (code, _count() if code else 0) if code >= 0 else b"signal %d" % -code)


def _count() -> int:
    """Processes and threads beside ourselves.

    Where no control group counts, they alone tell that no more could be made.
    """
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                pass
    return count


def _signal_all(number: int) -> None:
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        pass


def _end(word: bytes) -> NoReturn:
    """Kill what is left before saying how it ended: nobody writes once the end is known."""
    _signal_all(signal.SIGKILL)
    if word:
        os.write(STATUS_FD, word)
    os._exit(0)


if __name__ == "__main__":
    main()
