"""Watches, and on request ends, a process at named points of a task's way.

For fault tests; off unless `fault_probe` is set.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from mecapy_platform.services.claims import Claim

Probe = Callable[[str, Claim | None], None]


def nothing(_point: str, _claim: Claim | None) -> None:
    """No probe."""


def make_probe(directory: Path | None) -> Probe:
    """With a directory, each point appends a line to `ledger` in it.

    A file `kill-POINT` there is used up and kills this very process.
    """
    if directory is None:
        return nothing
    directory.mkdir(parents=True, exist_ok=True)
    ledger = os.open(directory / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def watch(point: str, claim: Claim | None) -> None:
        line: dict[str, object] = {"point": point, "pid": os.getpid()}
        if claim is not None:
            line |= {"task": str(claim.task_id), "attempt": claim.number, "token": str(claim.token)}
        os.write(ledger, json.dumps(line).encode() + b"\n")
        try:
            (directory / f"kill-{point}").unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return watch
