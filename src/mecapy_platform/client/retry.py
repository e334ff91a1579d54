"""When and how long to wait before the same request goes out again."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED_STATUS = frozenset({502, 503, 504})


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with full jitter; the first delay is at most `base_seconds`."""

    attempts: int = 5
    base_seconds: float = 0.25
    max_seconds: float = 8.0
    max_retry_after_seconds: float = 60.0

    def delay_seconds(self, attempt: int, retry_after: str | None = None) -> float:
        """How long to wait after failed attempt number `attempt` (from 1).

        The server's Retry-After wins, within bounds.
        """
        asked = retry_after_seconds(retry_after)
        if asked is not None:
            return min(asked, self.max_retry_after_seconds)
        ceiling = min(self.max_seconds, self.base_seconds * 2 ** (attempt - 1))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 -- spreads clients in time, guards nothing


def retry_after_seconds(value: str | None) -> float | None:
    """Retry-After as seconds from now: a number or an HTTP date; None when absent or unreadable."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
