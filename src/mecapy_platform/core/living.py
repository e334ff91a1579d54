"""Threads that must live: one that meets an error nobody thought of is said aloud and goes on."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS = 0.2
PAUSE_MAX_SECONDS = 5.0
STEADY_SECONDS = 60.0  # after so long without an error the next one counts as the first


class LivingThread(threading.Thread):
    """Does `work` until it returns. An error begins it again after a pause, which grows while errors follow each other.

    Every loop that a process cannot do without runs in one of these: a thread that ended silently would leave a process
    that looks alive and does nothing.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._hurry = threading.Event()

    def run(self) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                self._work()
            except Exception:
                if time.monotonic() - began > STEADY_SECONDS:
                    pause_seconds = FIRST_PAUSE_SECONDS
                log.exception("%s met an error nobody thought of; it goes on in %g s", self.name, pause_seconds)
            else:
                return
            self._hurry.wait(pause_seconds)
            pause_seconds = min(PAUSE_MAX_SECONDS, pause_seconds * 2)

    def hurry(self) -> None:
        """Wait no longer after an error: the work is to see that it shall end."""
        self._hurry.set()
