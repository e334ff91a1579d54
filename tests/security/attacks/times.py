"""Attacks on the time limit and the end: nothing outlives its task, nothing stops the clock."""

import ctypes
import os
import signal
import threading
import time

from report import Report, pause


def busy_loop(report: Report) -> None:
    report.note("while True", "begun")
    while True:
        pass


def holds_the_interpreter(report: Report) -> None:
    """A busy loop in C: no Python signal handler ever runs."""
    report.note("a regular expression for ever", "begun")
    import re

    re.match(r"(a+)+$", "a" * 60 + "b")


def ignores_every_signal(report: Report) -> None:
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    report.note("all signals ignored and blocked", "sleeping")
    while True:
        pause(60)


def forks_away_from_sigterm(report: Report) -> None:
    """At each SIGTERM a new child takes over."""

    def again(*_: object) -> None:
        if os.fork():
            os._exit(0)

    signal.signal(signal.SIGTERM, again)
    report.note("a handler that forks", "sleeping")
    while True:
        pause(60)


def leaves_a_daemon(report: Report) -> None:
    """Double fork, a session of its own, all signals ignored: it dies with the task."""
    for number in range(2):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                while True:
                    pause(60) if number else None
            os._exit(0)
    report.note("two daemons", "left")


def stops_itself(report: Report) -> None:
    report.note("SIGSTOP to itself", "sent")
    os.kill(os.getpid(), signal.SIGSTOP)


def stops_everything(report: Report) -> None:
    report.note("SIGSTOP to all", "sent")
    if os.fork() == 0:
        os.setsid()
        while True:
            for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
                try:
                    if pid != os.getpid():
                        os.kill(pid, signal.SIGSTOP)
                except OSError:
                    continue
    pause(60)


def leaves_a_thread(report: Report) -> None:
    def work() -> None:
        while True:
            pause(0.01)

    threading.Thread(target=work).start()
    report.note("a thread that never ends", "left")


def hangs_at_exit(report: Report) -> None:
    import atexit

    atexit.register(time.sleep, 60)

    class Slow:
        def __del__(self) -> None:
            pause(60)

    globals()["kept"] = Slow()
    report.note("atexit and __del__ that sleep", "left")


def hangs_in_vfork(report: Report) -> None:
    """A child that shares its parent's fate: the parent sleeps uninterruptibly until the child ends."""
    libc = ctypes.CDLL(None)
    report.note("vfork without an end", "begun")
    child = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
    del child
    if libc.syscall(58 if os.uname().machine == "x86_64" else 220, 0x4111, 0, 0, 0, 0) == 0:
        while True:
            libc.pause()
    os._exit(0)


def sleeps_for_ever(report: Report) -> None:
    report.note("sleep", "begun")
    threading.Event().wait()


def kills_its_parent(report: Report) -> None:
    """Its parent is init, or lies outside (0, which would be its own group): every signal it may send is ignored or refused, and the task reports."""
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGCHLD, signal.SIGHUP):
        report.refused(f"kill({os.getppid() or 1}, {int(number)})", os.kill, os.getppid() or 1, number)
