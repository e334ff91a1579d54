"""The points of designs that leave nothing to chance, row by row: grids, factorials, screening, central composite.

A row has one value a factor, in its unit and in the order of the factors. Sources: docs/reference/designs.md.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from mecapy_platform.core.sampling.hadamard import columns_for
from mecapy_platform.core.sampling.kinds import LISTED, DesignKind, Spacing, Variant
from mecapy_platform.core.sampling.records import Design, Factor

Row = tuple[Any, ...]


def rows_of(design: Design) -> Iterator[Row]:
    """All rows, in an order that never changes."""
    if design.kind in LISTED:
        yield from (tuple(row[name] for name in design.names) for row in design.rows)
        return
    match design.kind:
        case DesignKind.GRID | DesignKind.FULL_FACTORIAL:
            yield from product(*(levels(factor) for factor in design.factors))
        case DesignKind.ONE_AT_A_TIME:
            yield from _one_at_a_time(design.factors)
        case DesignKind.FRACTIONAL_FACTORIAL:
            yield from (_scaled(design.factors, signs) for signs in _fraction(design))
        case DesignKind.PLACKETT_BURMAN:
            yield from (_scaled(design.factors, signs) for signs in columns_for(len(design.factors)))
        case DesignKind.CENTRAL_COMPOSITE:
            yield from (_scaled(design.factors, coded) for coded in _central_composite(design))
    yield from (tuple(nominal(factor) for factor in design.factors) for _ in range(design.centre_points))


def levels(factor: Factor) -> tuple[Any, ...]:
    """The levels of a factor: those listed, or `steps` between the ends of its range."""
    if factor.levels:
        return factor.levels
    low, high = _ends(factor)
    steps = factor.steps or 2
    if steps == 1:
        return (nominal(factor),)
    shares = [step / (steps - 1) for step in range(steps)]
    if factor.spacing is Spacing.LOG:
        inner = [low * (high / low) ** share for share in shares]
    else:
        inner = [low + (high - low) * share for share in shares]
    return (low, *inner[1:-1], high)


def nominal(factor: Factor) -> float:
    """Where a factor stays while others vary: what was said, or the middle of its range."""
    low, high = _ends(factor)
    if factor.nominal is not None:
        return factor.nominal
    return (low * high) ** 0.5 if factor.spacing is Spacing.LOG else (low + high) / 2


def _ends(factor: Factor) -> tuple[float, float]:
    assert factor.low is not None
    assert factor.high is not None
    return factor.low, factor.high


def _one_at_a_time(factors: Sequence[Factor]) -> Iterator[Row]:
    """The nominal point, then each factor through its levels."""
    middle = tuple(nominal(factor) for factor in factors)
    yield middle
    for place, factor in enumerate(factors):
        for level in levels(factor):
            yield (*middle[:place], level, *middle[place + 1 :])


def _fraction(design: Design) -> Iterator[tuple[float, ...]]:
    """Signs of each run. The first base factor changes fastest."""
    base = [factor.name for factor in design.factors if factor.name not in design.generators]
    for signs in product((-1, 1), repeat=len(base)):
        found = dict(zip(base, reversed(signs), strict=True))
        for name, (sign, word) in design.generators.items():
            found[name] = sign
            for part in word:
                found[name] *= found[part]
        yield tuple(found[factor.name] for factor in design.factors)


def _central_composite(design: Design) -> Iterator[tuple[float, ...]]:
    """Corners, then stars, in units of half a range."""
    size = len(design.factors)
    corner, star = 1.0, design.alpha
    if design.variant is Variant.INSCRIBED:
        corner, star = 1 / design.alpha, 1.0
    elif design.variant is Variant.FACED:
        star = 1.0
    yield from (tuple(reversed(signs)) for signs in product((-corner, corner), repeat=size))
    for place in range(size):
        for end in (-star, star):
            yield tuple(end if other == place else 0.0 for other in range(size))


def _scaled(factors: Sequence[Factor], coded: Sequence[float]) -> Row:
    """From -1 .. 1 to the range; the ends exactly."""
    return tuple(_place(factor, value) for factor, value in zip(factors, coded, strict=True))


def _place(factor: Factor, coded: float) -> float:
    low, high = _ends(factor)
    if coded in {-1, 1}:
        return high if coded == 1 else low
    return (low + high) / 2 + coded * (high - low) / 2
