"""Numbers from one unit into another of the same dimension, with at most two roundings: 9 mm is 0.009 m."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from mecapy_platform.core.units.reader import read_unit
from mecapy_platform.core.units.table import Unit

_EXACT = 2**53


@dataclass(frozen=True)
class Factor:
    """A number in the first unit, times `above`, by `below`, is the number in the second one."""

    above: float
    below: float

    @property
    def is_identity(self) -> bool:
        return self.above == self.below

    @property
    def number(self) -> float:
        return self.above / self.below

    def apply(self, value: float) -> float:
        """The value in the second unit, infinite where it is beyond a float; untouched where nothing changes."""
        if self.is_identity:
            return value
        try:
            found = value * self.above / self.below
        except OverflowError:
            return math.inf
        return found if math.isfinite(found) else value * self.number

    @property
    def inverse(self) -> "Factor":
        return Factor(self.below, self.above)


IDENTITY = Factor(1.0, 1.0)


def factor_of(ratio: Fraction) -> Factor:
    """A factor for an exact ratio."""
    if max(abs(ratio.numerator), ratio.denominator) <= _EXACT:
        return Factor(float(ratio.numerator), float(ratio.denominator))
    return Factor(float(ratio), 1.0)


@lru_cache(maxsize=1024)
def factor_between(source: str, target: str) -> Factor:
    """From one unit's text to another's. Their dimensions are equal: the caller has seen to it."""
    return factor_of(read_unit(source).factor / read_unit(target).factor)


def si_factor(unit: Unit) -> Factor:
    return factor_of(unit.factor)
