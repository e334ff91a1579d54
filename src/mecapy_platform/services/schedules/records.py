"""Words of schedules."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Missed(StrEnum):
    """What becomes of times at which the platform was not there."""

    SKIP = "skip"
    CATCH_UP = "catch_up"  # each is made up for, in order, up to seven days back


class Overlap(StrEnum):
    """What happens where the one before has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    REPLACE = "replace"  # the one before is cancelled


class Outcome(StrEnum):
    """What a time came to."""

    MADE = "made"
    MISSED = "missed"
    OVERLAPPED = "overlapped"
    REFUSED = "refused"  # as a request would have been: the code says why


@dataclass(frozen=True)
class NewSchedule:
    """A schedule as it is asked for."""

    name: str
    kind: str
    target: Mapping[str, Any]
    cron: str
    time_zone: str = "UTC"
    missed: Missed = Missed.SKIP
    overlap: Overlap = Overlap.ALLOW
    is_paused: bool = False
