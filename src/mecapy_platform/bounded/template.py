"""The process that bounded calls are forked from: it has imported what they need, and reads nothing of anybody itself.

`python -m mecapy_platform.bounded.template DESCRIPTOR MODULE..`, started by bounded/calls alone. It ends with its
starter, whose end of the socket closes.
"""

import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.bounded.frames import COMPLETE, OUT_OF_MEMORY, frames

MESSAGE_BYTES = 4096
MOST_DESCRIPTORS = 4
NICENESS = 10  # whoever waits for a small answer goes first
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Called:
    """What a function that runs as a bounded call is given. `send` may be called any number of times."""

    argument: bytes
    descriptors: Sequence[int]
    send: Callable[[bytes], None]


def main(arguments: Sequence[str]) -> None:
    orders = socket.socket(fileno=int(arguments[0]))
    for module in arguments[1:]:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, MESSAGE_BYTES, MOST_DESCRIPTORS)
        if not message:
            return
        if os.fork() == 0:
            orders.close()
            _run(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _run(order: dict[str, str | float], descriptors: Sequence[int]) -> None:
    """The forked child, to its end. SIGALRM ends it whatever holds the interpreter, for nothing here handles it."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, float(order["seconds"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(NICENESS)
        connection = socket.socket(fileno=descriptors[0])
        argument = _read(connection)
        module, _, name = str(order["target"]).partition(":")
        target = getattr(importlib.import_module(module), name)
        _limit_memory(int(order["memory_bytes"]))
        _call(target, Called(argument, descriptors[1:], lambda data: _send(connection, data)), connection)
        code = 0
    except BaseException:  # noqa: BLE001 - the last line of a process: everything goes to its log
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _call(target: Callable[[Called], None], called: Called, connection: socket.socket) -> None:
    try:
        target(called)
        connection.sendall(COMPLETE)
    except MemoryError:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        connection.sendall(OUT_OF_MEMORY)


def _limit_memory(memory_bytes: int) -> None:
    """What the call may have beside what was there before it. Only the soft limit: the last word lifts it again."""
    status = Path("/proc/self/status").read_text().splitlines()
    before_kb = int(next(line for line in status if line.startswith("VmData")).split()[1])
    resource.setrlimit(resource.RLIMIT_DATA, ((before_kb << 10) + memory_bytes, resource.RLIM_INFINITY))


def _read(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(READ_BYTES):
        pieces.append(piece)
    return b"".join(pieces)


def _send(connection: socket.socket, data: bytes) -> None:
    for frame in frames(data):
        connection.sendall(frame)


if __name__ == "__main__":
    main(sys.argv[1:])
