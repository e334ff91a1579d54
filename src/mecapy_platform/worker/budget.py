"""The time that one build has in all: fetching, importing, test cases. What takes longer is the package's own doing."""

import time
from dataclasses import dataclass

from mecapy_platform.core.errors import InvalidInputError


@dataclass(frozen=True)
class Budget:
    """`seconds` from its making on."""

    seconds: float
    ends_at: float  # of the monotonic clock

    @classmethod
    def start(cls, seconds: float) -> "Budget":
        return cls(seconds, time.monotonic() + seconds)

    def left_seconds(self) -> float:
        return max(0.0, self.ends_at - time.monotonic())

    def at_most(self, seconds: float) -> float:
        """`seconds`, or what is left where that is less.

        Raises
        ------
        InvalidInputError
            `build_timeout`: nothing is left.
        """
        left = self.left_seconds()
        if left <= 0.0:
            raise self.used_up()
        return min(seconds, left)

    def used_up(self) -> InvalidInputError:
        return InvalidInputError(
            "build_timeout",
            f"The build took more than its {self.seconds:g} s in all. Pin versions in requirements.txt, require "
            "less, or test less on deployment; then deploy a new version.",
        )
