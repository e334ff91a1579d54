"""Waits for the end of what goes on by itself and counts its changes: a run, a study."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from mecapy_platform.client.errors import StillRunningError
from mecapy_platform.client.tasks import PATIENCE_SECONDS
from mecapy_platform.core.errors import UnavailableError


class Changing(Protocol):
    """`change` grows with each change that a reader can see."""

    @property
    def change(self) -> int: ...

    @property
    def is_ended(self) -> bool: ...


Found = TypeVar("Found", bound=Changing)


def wait_for_end(
    look: Callable[[float, int], Found],
    *,
    timeout_seconds: float | None,
    step_seconds: float,
    on_look: Callable[[Found], None],
    goes_on: str,
) -> Found:
    """To the end, over restarts of the platform. Raises StillRunningError, saying `goes_on`, when the time is over.

    `look` is given for how long to wait, and the change above which to answer.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    heard, change = time.monotonic(), -1
    while True:
        left = step_seconds if deadline is None else max(0.0, min(step_seconds, deadline - time.monotonic()))
        try:
            found = look(left, change)
        except UnavailableError:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
            continue
        heard, change = time.monotonic(), found.change
        on_look(found)
        if found.is_ended:
            return found
        if deadline is not None and time.monotonic() >= deadline:
            raise StillRunningError("still_running", goes_on)
