"""Runs an algorithm anew over recorded points until it asks for one that is not there yet.

Algorithms are deterministic from their seed, so that the same calls come in the same order each time; what they ask
for first is point 0. That makes every library one that can be asked and told, and a study survives any process.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mecapy_platform.core.errors import ConflictError
from mecapy_platform.core.sampling.driven import Driven
from mecapy_platform.numerics.designs import written
from mecapy_platform.numerics.distributions import Array
from mecapy_platform.numerics.sample import in_si

SAME = 1e-6  # relative difference below which a recorded input is the one asked for


class PointsNeeded(Exception):  # noqa: N818 - no error: the next question
    """The algorithm goes on when these points have ended."""

    def __init__(self, first: int, points: Array) -> None:
        super().__init__(f"{len(points)} points from {first}")
        self.first = first
        self.points = points


class BudgetSpent(Exception):  # noqa: N818 - no error: an end like another
    """The next points would be more than the study may have."""


class DrivenError(Exception):
    """The study cannot reach what it is for; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Replay:
    """Recorded points, and how far the algorithm has got through them.

    Attributes
    ----------
    values : shape (recorded, values); NaN where a point failed
    inputs : by index, as recorded, of the points that have ended
    asked : the points that the algorithm has had, by index
    """

    driven: Driven
    values: Array
    inputs: Mapping[int, Mapping[str, Any]]
    asked: list[tuple[float, ...]] = field(default_factory=list)
    _places: dict[tuple[float, ...], int] = field(default_factory=dict)

    def evaluate(self, batch: Array) -> Array:
        """The values of points in the factors' units, shape (points, factors) to (points, values).

        Raises PointsNeeded, BudgetSpent, and ConflictError "study_not_repeatable".
        """
        rows = [tuple(map(float, row)) for row in np.atleast_2d(batch)]
        fresh = [row for row in dict.fromkeys(rows) if row not in self._places]
        first = len(self.asked)
        if fresh:
            if first + len(fresh) > self.driven.points:
                raise BudgetSpent
            if any(index not in self.inputs for index in range(first, first + len(fresh))):
                raise PointsNeeded(first, np.array(fresh))
            for row in fresh:
                self._judge_same(len(self.asked), row)
                self._places[row] = len(self.asked)
                self.asked.append(row)
        return self.values[[self._places[row] for row in rows]]

    def written(self, point: tuple[float, ...]) -> dict[str, Any]:
        """A point as inputs: numbers, or texts with their factor's unit."""
        return {
            factor.name: written(int(value) if factor.whole else value, factor.unit)
            for factor, value in zip(self.driven.factors, point, strict=True)
        }

    def told(self) -> Array:
        """The values of all points that the algorithm has had."""
        return self.values[: len(self.asked)]

    def _judge_same(self, index: int, point: tuple[float, ...]) -> None:
        """Texts and numbers without unit are compared; numbers of a factor with one may be in another system."""
        recorded = self.inputs[index]
        for factor, value in zip(self.driven.factors, point, strict=True):
            found = recorded.get(factor.name)
            if isinstance(found, str) or (factor.unit is None and isinstance(found, int | float)):
                wanted = in_si(written(value, factor.unit))
                if not math.isclose(in_si(found), wanted, rel_tol=SAME, abs_tol=SAME * _size(factor.low, factor.high)):
                    said = (
                        f"Point {index} was recorded with {factor.name} = {found}, and is now asked for with "
                        f"{written(value, factor.unit)}: the library has changed since. Begin a new study."
                    )
                    raise ConflictError("study_not_repeatable", said)


def _size(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else abs(high - low) * 1e-3


Algorithm = Callable[[Driven, Replay], dict[str, Any]]
