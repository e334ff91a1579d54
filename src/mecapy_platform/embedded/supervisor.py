"""Watches the parts: restarts a crashed one with back-off and says so, ends all in order.

One thread, woken by signals.
"""

import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.embedded.parts import Part

WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BACKOFF_FIRST_SECONDS = 0.25
BACKOFF_MAX_SECONDS = 15.0
STEADY_SECONDS = 60.0
IDLE_SECONDS = 5.0


class Supervisor:
    """`parts` in the order they start; they end in the reverse one."""

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.parts: list[Part] = []
        self._say = say
        self._changed = changed
        self._is_hurried = False

    def block_signals(self) -> None:
        """From here signals wait for `watch` or `stop`: none is lost between a fork and its bookkeeping."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)

    def start(self, part: Part) -> None:
        part.child = part.start()
        part.started_at = time.monotonic()
        self.parts.append(part)

    def watch(self, until: Callable[[], bool] | None = None, seconds: float = math.inf) -> bool:
        """Look after the parts. True once `until` holds, False when asked to stop.

        Raises
        ------
        TimeoutError
            `until` does not hold after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while until is None or not until():
            if time.monotonic() > deadline:
                raise TimeoutError
            info = signal.sigtimedwait(WATCHED, max(0.0, min(self._pause(), deadline - time.monotonic())))
            if info is not None and info.si_signo in STOPPING:
                return False
            for part in self.parts:
                self._look_after(part)
        return True

    def stop(self) -> None:
        """End every part, last started first; a second Ctrl-C kills what is left at once."""
        groups: dict[str, list[Part]] = {}
        for part in reversed(self.parts):
            groups.setdefault(part.name.split("-")[0], []).append(part)
        for group in groups.values():
            self._end(group)

    def _look_after(self, part: Part) -> None:
        now = time.monotonic()
        if part.child is not None and (code := part.child.poll()) is not None:
            part.failures = 1 if now - part.started_at > STEADY_SECONDS else part.failures + 1
            pause = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (part.failures - 1))
            part.child, part.restart_at = None, now + pause
            self._say(f"{part.name} ended ({_how(code)}); starting it again in {pause:.2g} s")
        if part.restart_at is not None and now >= part.restart_at:
            self._restart(part)

    def _restart(self, part: Part) -> None:
        part.restart_at = None
        part.started_at = time.monotonic()
        try:
            part.child = part.start()
        except (MecapyError, OSError) as error:
            part.failures += 1
            pause = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (part.failures - 1))
            part.restart_at = time.monotonic() + pause
            self._say(f"{part.name} did not start: {error} Trying again in {pause:.2g} s")
            return
        self._say(f"{part.name} is running again, pid {part.child.pid}")
        self._changed()

    def _pause(self) -> float:
        due = [part.restart_at for part in self.parts if part.restart_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else IDLE_SECONDS

    def _end(self, group: Sequence[Part]) -> None:
        """End parts of one kind together: each signal to all, then wait for all."""
        last = (signal.SIGKILL, 10.0)
        for step in range(max(len(part.stop) for part in group) + 1):
            deadline = 0.0
            for part in group:
                number, seconds = (*part.stop, last)[min(step, len(part.stop))]
                if self._is_hurried:
                    number, seconds = last
                if part.child is not None and part.child.poll() is None:
                    with suppress(ProcessLookupError):
                        part.child.send_signal(number)
                    deadline = max(deadline, time.monotonic() + seconds)
            if self._wait_for(group, deadline):
                return

    def _wait_for(self, group: Sequence[Part], deadline: float) -> bool:
        while any(part.child is not None and part.child.poll() is None for part in group):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            info = signal.sigtimedwait(WATCHED, min(left, 1.0))
            if info is not None and info.si_signo in STOPPING and not self._is_hurried:
                self._is_hurried = True
                self._say("asked again: ending everything now")
                return False
        return True


def _how(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"
