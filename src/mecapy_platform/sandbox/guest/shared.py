"""Serves calls that share a worker: each in a fork of it, or, with `reuse`, one after another in it.

The stem says when a call begins, has written its inputs, reads how it ended and empties the workspace; see
csource/calls.c. Once the module is loaded, nothing that this process says is believed but that it has begun.
"""

from __future__ import annotations

import fcntl
import gc
import os
import stat
import sys

from _mecapy_guest import native, reuse, runner

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from typing import Any

    from _mecapy_guest.call import Setup

LOADED, UNFIT = b"loaded", b"unfit"
TRACE_CHARACTERS = 4000  # of a traceback in a message of the stem


def serve(report: int, order: dict[str, Any], setup: Setup) -> int:
    """Calls until nobody asks for one any more: the exit code, of the worker or of a fork."""
    wanted = order["shared"]
    loaded = [runner.Loaded(handler, has_site=order["site"]) for handler in wanted["handlers"]]
    if any(item.error is not None for item in loaded) or len(os.listdir("/proc/self/task")) > 1:
        os.write(report, UNFIT)  # alone each call says what is wrong; a thread would not be there in a fork
        return 1
    runner.flush()
    runner.trace_characters = TRACE_CHARACTERS
    if wanted["reuse"]:
        return _serve_here(report, order, loaded, wanted["reuse"])
    runner.remember_files()
    files = _open_files(report)
    gc.collect()
    gc.freeze()
    os.write(report, LOADED)
    handler = native.fork_calls()
    if handler < 0:
        return 0
    _be_new(order, setup, files)
    code: int = runner.run(order, loaded[handler])
    return code


def _serve_here(report: int, order: dict[str, Any], loaded: list[runner.Loaded], calls: int) -> int:
    state: reuse.WorkerState | None = None
    os.write(report, LOADED)
    for left in range(calls, 0, -1):
        handler = native.await_call()
        if handler < 0:
            return 0
        state = state or reuse.WorkerState()
        code: int = runner.run(order, loaded[handler])
        if code != 0 or left == 1 or not reuse.is_as_it_was(state):
            return code
        os.write(report, reuse.OVER)
    return 0


def _open_files(report: int) -> list[tuple[int, int, int]]:
    """The files that the module has open: descriptor, flags, position."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if descriptor > 2 and descriptor != report and stat.S_ISREG(os.fstat(descriptor).st_mode):
                flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
                found.append((descriptor, flags, os.lseek(descriptor, 0, os.SEEK_CUR)))
        except OSError:
            continue  # of this listing itself
    return found


def _be_new(order: dict[str, Any], setup: Setup, files: list[tuple[int, int, int]]) -> None:
    """Files of the module opened once more, as forks share a position; a random state that no other call has."""
    for descriptor, flags, position in files:
        try:
            own = os.open(f"/proc/self/fd/{descriptor}", flags)
        except OSError:
            continue
        os.lseek(own, position, os.SEEK_SET)
        os.dup2(own, descriptor, inheritable=False)
        os.close(own)
    for adapt in setup.adaptations:
        adapt(order["environment"])
    random = sys.modules.get("numpy.random")
    if random is not None and not setup.adaptations:
        random.seed()
