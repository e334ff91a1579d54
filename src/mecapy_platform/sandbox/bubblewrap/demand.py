"""Which functions are called often enough that the next worker loads them ahead of the call."""

from collections import deque
from dataclasses import dataclass, field

AHEAD_CALLS, AHEAD_SECONDS = 2, 10.0  # so many calls in so many seconds: the next worker loads the function ahead


@dataclass
class Demand:
    """When a function was called lately."""

    moments: deque[float] = field(default_factory=lambda: deque(maxlen=AHEAD_CALLS))
    is_barred: bool = False  # its module ended the worker that loaded it ahead

    def note(self, now: float) -> None:
        self.moments.append(now)

    def is_hot(self, now: float) -> bool:
        return not self.is_barred and len(self.moments) == AHEAD_CALLS and now - self.moments[0] <= AHEAD_SECONDS
