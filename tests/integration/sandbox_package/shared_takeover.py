"""A module that puts code of its own in the place of ours in the worker that calls share, and then never ends."""

import contextlib
import os
import signal
import socket
import struct
import threading

from _mecapy_guest import native  # it is there in a sandbox alone

REPORT = 5
ours = native.fork_calls


def taken() -> int:
    """By the handler that is asked for: 0 is `says_it_began`, 1 is `freezes`."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(REPORT)) as report:
        said = report.recvmsg(64, 1024, socket.MSG_PEEK)[0]
        (handler,) = struct.unpack_from("I", said)
        if handler == 0:
            report.recvmsg(64, 1024)
            report.send(b"call")  # the kernel adds who says so: the worker
            for_ever()
    for number in range(3, 64):
        if number != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGSTOP)
    found: int = ours()
    return found


def for_ever() -> None:
    while True:
        threading.Event().wait(1)


def says_it_began() -> None:
    raise AssertionError("it is never called")


def freezes() -> None:
    """The first process of the calls, which kills this one in the end, has been sent a stop by now."""
    for_ever()


def closes() -> None:
    """Of a worker that is used again: nobody hears any more that the call is over."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.close(REPORT)
    for_ever()


native.fork_calls = taken
