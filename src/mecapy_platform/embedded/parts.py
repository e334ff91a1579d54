"""One part of the platform as the supervisor sees it: a program of its own, or a fork of the preloaded launcher."""

import gc
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.embedded.users import CLOSED_UMASK, User, become


class Child(Protocol):
    """What subprocess.Popen and Fork have in common."""

    @property
    def pid(self) -> int: ...

    returncode: int | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...


@dataclass
class Part:
    """A supervised part: `start` makes a new child; `stop` is the signals and the seconds each is given."""

    name: str
    start: Callable[[], Child]
    stop: tuple[tuple[signal.Signals, float], ...]
    child: Child | None = None
    started_at: float = 0.0
    failures: int = 0
    restart_at: float | None = None

    @property
    def pids(self) -> list[int]:
        return [self.child.pid] if self.child is not None else []


@dataclass(frozen=True)
class Surroundings:
    """What a forked child has around it before our code runs in it."""

    log: Path
    user: User
    home: Path
    before: Callable[[], None] | None = None
    close: tuple[int, ...] = field(default=())


class Fork:
    """A child that shares the launcher's imports. Its `returncode` is negative for a signal, as in subprocess."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    @classmethod
    def start(cls, work: Callable[[], None], around: Surroundings) -> "Fork":
        """Fork; the child leaves with `work`'s end and never returns into the launcher's code."""
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # what exists now is shared: the collector shall not write into it
        pid = os.fork()
        if pid == 0:
            _run_child(work, around, parent)
        gc.unfreeze()
        return cls(pid)

    def poll(self) -> int | None:
        if self.returncode is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            with suppress(OSError):
                os.killpg(
                    self.pid, signal.SIGKILL
                )  # what it started, while its number is still taken by the dead leader
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.poll() is None:
            watch = os.pidfd_open(self.pid)
            try:
                waiting = select.poll()
                waiting.register(watch, select.POLLIN)
                ready = waiting.poll(None if timeout is None else timeout * 1000)
            finally:
                os.close(watch)
            if not ready:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


def _run_child(work: Callable[[], None], around: Surroundings, parent: int) -> None:
    code = 1
    try:
        _settle(around, parent)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except MecapyError as error:
        sys.stderr.write(error.message + "\n")
    except BaseException:  # noqa: BLE001 - the last line of a child: everything goes to its log
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _settle(around: Surroundings, parent: int) -> None:
    """Own session, own log, own user, no signal blocked, nothing of the launcher's descriptors."""
    os.setsid()
    log = os.open(around.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for descriptor in (log, null, *around.close):
        with suppress(OSError):
            os.close(descriptor)
    if around.before is not None:
        around.before()
    os.chdir("/")
    os.umask(CLOSED_UMASK)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    become(around.user, signal.SIGKILL, parent)
    os.environ.update(
        {"HOME": str(around.home), "TMPDIR": str(around.home), "USER": around.user.name, "LOGNAME": around.user.name}
    )
