"""The three queues, and which one a task belongs to."""

from enum import StrEnum

LEARNED_AFTER_RUNS = 20
MARGIN = 1.5


class Lane(StrEnum):
    HIGH_PRIORITY = "high_priority"
    DEFAULT = "default"
    LONG_RUNNING = "long_running"


LANE_LIMIT_SECONDS: dict[Lane, float] = {Lane.HIGH_PRIORITY: 5.0, Lane.DEFAULT: 300.0}


def lane_for(timeout_seconds: float, p95_seconds: float | None = None, runs: int = 0) -> Lane:
    """The lane of the declared time limit.

    With enough history, of 1.5 times the 95th percentile where that is shorter.
    """
    expected = timeout_seconds
    if p95_seconds is not None and runs >= LEARNED_AFTER_RUNS:
        expected = min(timeout_seconds, p95_seconds * MARGIN)
    return next((lane for lane, limit in LANE_LIMIT_SECONDS.items() if expected <= limit), Lane.LONG_RUNNING)
