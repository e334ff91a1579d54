"""Ends a server that outlived the launcher which started it, found by its pid file and proven by its command line."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

QUIET_SECONDS = 5.0
KILL_SECONDS = 10.0


def end_stale_server(pid_file: Path, marker: Path) -> None:
    """Wait for the program of `pid_file` to leave, then kill it; a pid reused by another program is not touched.

    Parameters
    ----------
    marker
        A path that the program's command line names.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    deadline = time.monotonic() + QUIET_SECONDS
    while is_running(pid, marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    deadline = time.monotonic() + KILL_SECONDS
    while is_running(pid, marker) and time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def is_running(pid: int, marker: Path) -> bool:
    """Whether `pid` lives (a zombie does not) and its command line names `marker`."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, IndexError):
        return False
    return state != "Z" and bytes(marker) in command
