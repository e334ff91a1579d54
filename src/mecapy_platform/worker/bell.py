"""What wakes an engine: a hint by Celery, an end in its own process, a clock.

For a while after work, a list in the broker.
"""

import threading
from typing import Protocol


class Bell(Protocol):
    """One engine waits; anybody rings, at any time. A ring between two waits is kept."""

    def ring(self) -> None:
        """Wake the engine, or let its next wait return at once."""

    def wait(self, seconds: float, *, lingers: bool, deaf_seconds: float = 0.0) -> bool:
        """Return when rung, or after `seconds`.

        With `lingers`, hints come without Celery meanwhile; True says that one came.

        For `deaf_seconds` hints are left alone: who has no free slot can do nothing but pass them on.
        """

    def close(self) -> None:
        """Leave nothing behind."""


class QuietBell:
    """Hints come by `ring` alone."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    def wait(self, seconds: float, *, lingers: bool, deaf_seconds: float = 0.0) -> bool:
        del lingers, deaf_seconds
        self._event.wait(seconds)
        self._event.clear()
        return False

    def close(self) -> None:
        """Nothing is held."""
