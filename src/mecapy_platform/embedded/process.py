"""Starts a server program as a user of its own, with its log in a file, so that it dies with us.

Ends it by its own pid.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.embedded.users import User, becoming

TAIL_BYTES = 2000
SOCKET_PATH_MAX = 107  # of a unix socket, in bytes


def start_program(
    argv: Sequence[str | Path],
    *,
    log: Path,
    user: User | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    before: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, so that Ctrl-C at the console reaches the launcher alone."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=clean_environment(),
            start_new_session=True,
            preexec_fn=becoming(user, death_signal, before),  # noqa: PLW1509 - the launcher has no threads before it has forked
        )


def stop_program(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> int:
    """Send each signal and wait its seconds; SIGKILL when none helped. Returns the exit status."""
    for number, seconds in (*steps, (signal.SIGKILL, 10.0)):
        if child.poll() is not None:
            break
        with suppress(ProcessLookupError):
            child.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    return child.wait()


def wait_until(
    ready: Callable[[], bool],
    child: subprocess.Popen[bytes],
    *,
    name: str,
    log: Path,
    seconds: float = 60.0,
    pause: float = 0.02,
) -> None:
    """Poll `ready` until it holds, the program is dead or the time is over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if child.poll() is not None:
            raise UnavailableError(
                "program_failed",
                f"{name} ended with {child.returncode} while starting. Its log {log} ends with:\n{tail(log)}",
            )
        if time.monotonic() > deadline:
            raise UnavailableError(
                "program_slow", f"{name} does not answer after {seconds:.0f} s. Its log {log} ends with:\n{tail(log)}"
            )
        time.sleep(pause)


def tail(log: Path) -> str:
    with suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
        return stream.read().decode(errors="replace").strip()
    return ""


def clean_environment() -> dict[str, str]:
    """What a server program gets of our environment."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


def free_port(host: str = "127.0.0.1", preferred: int = 0) -> int:
    """`preferred` or the next free one above it; any free port for 0."""
    for port in range(preferred, preferred + 100) if preferred else (0,):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise UnavailableError(
        "no_free_port", f"No free port from {preferred} to {preferred + 99} on {host}. Name one with --port."
    )
