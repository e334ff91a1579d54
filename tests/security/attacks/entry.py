"""The handlers of the attack package: many cases in one task, each in a child of its own, or one case as the task itself."""

import importlib
import os
import select
import signal
import time
from json import dumps, loads  # by name: an attack may patch the module
from typing import Any

from report import Report

CASE_SECONDS = 30.0


def batch(cases: list[str], world: dict[str, Any]) -> dict[str, str]:
    """Run `module:function` cases one after the other; a case that dies is reported with what killed it."""
    _tell_how_long_it_waited()
    return {"reports": dumps({case: _apart(case, world) for case in cases})}


def alone(case: str, world: dict[str, Any]) -> dict[str, str]:
    """Run one case as the task's own process; what it tries is printed at once, as it may never return."""
    _tell_how_long_it_waited()
    report = Report(world, echo=True)
    _find(case)(report)
    return {"reports": dumps({case: report.tries})}


def _tell_how_long_it_waited() -> None:
    """By how much the first process is older than the inputs: one that was started ahead of its call is, one that was started for it is not."""
    with open("/proc/1/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    print(f"WAITED {os.stat('/workspace/in/data.json').st_mtime - started:.3f}", flush=True)


def _find(case: str) -> Any:
    module, _, function = case.partition(":")
    return getattr(importlib.import_module(module), function)


def _apart(case: str, world: dict[str, Any]) -> list[dict[str, Any]]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(case, world, write)
    os.close(write)
    told = _read_all(read, time.monotonic() + CASE_SECONDS)
    os.close(read)
    try:
        os.kill(pid, signal.SIGKILL)
        _pid, status = os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        status = 0
    try:
        tries: list[dict[str, Any]] = loads(told)
    except ValueError:
        return [
            {
                "what": "the case itself",
                "answer": f"ended by {os.waitstatus_to_exitcode(status)}",
                "escaped": False,
                "lost": True,
            }
        ]
    return tries


def _child(case: str, world: dict[str, Any], write: int) -> None:
    report = Report(world)
    try:
        _find(case)(report)
    except BaseException as error:  # noqa: BLE001 - told to the test, which fails
        report.tries.append({"what": "the case itself", "answer": f"broke: {error!r}", "escaped": False, "lost": True})
    finally:
        raw = dumps(report.tries).encode()
        while raw:
            raw = raw[os.write(write, raw) :]
        os._exit(0)


def _read_all(read: int, deadline: float) -> bytes:
    told = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([read], [], [], left)[0]:
        piece = os.read(read, 65536)
        if not piece:
            break
        told += piece
    return told
