"""How many points a design has, before any is drawn."""

import math
from collections.abc import Callable

from mecapy_platform.core.sampling.hadamard import order_for
from mecapy_platform.core.sampling.kinds import LISTED, DesignKind
from mecapy_platform.core.sampling.records import Design, Factor


def count_of(design: Design) -> int:
    """The number of points, however large; nothing is drawn."""
    if design.kind in LISTED:
        return len(design.rows)
    return _COUNTS.get(design.kind, _sampled)(design) + design.centre_points


def levels_of(factor: Factor) -> int:
    """How many levels a factor has in a grid, a factorial or a one-at-a-time design."""
    return len(factor.levels) or factor.steps or 2


def _sampled(design: Design) -> int:
    return design.points


def _product(design: Design) -> int:
    return math.prod(levels_of(factor) for factor in design.factors)


_COUNTS: dict[DesignKind, Callable[[Design], int]] = {
    DesignKind.GRID: _product,
    DesignKind.FULL_FACTORIAL: _product,
    DesignKind.ONE_AT_A_TIME: lambda design: 1 + sum(levels_of(factor) for factor in design.factors),
    DesignKind.FRACTIONAL_FACTORIAL: lambda design: 1 << len(design.factors) - len(design.generators),
    DesignKind.PLACKETT_BURMAN: lambda design: order_for(len(design.factors)),
    DesignKind.CENTRAL_COMPOSITE: lambda design: (1 << len(design.factors)) + 2 * len(design.factors),
    DesignKind.SOBOL_INDICES: lambda design: design.points * (len(design.factors) + 2),
    DesignKind.MORRIS: lambda design: design.points * (len(design.factors) + 1),
}
