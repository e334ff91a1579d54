"""A design and its factors, once they have been read: numbers in one unit a factor, nothing left to be guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mecapy_platform.core.sampling.kinds import DesignKind, DistributionKind, Spacing, Variant


@dataclass(frozen=True)
class Distribution:
    """How a factor scatters; all numbers in the factor's unit.

    Attributes
    ----------
    parameters : normal and log-normal {mean, std} of the variable itself, log-normal and Weibull {location};
        uniform {low, high}; triangular {low, mode, high}; Weibull {shape, scale, location}
    lower, upper : ends at which it is truncated
    values : of a table, increasing
    weights : of a table of single values: their probabilities, which add up to 1
    cumulative : of a table of a curve: the probability of at most each value, from 0 to 1, straight between
    """

    kind: DistributionKind
    parameters: Mapping[str, float] = field(default_factory=dict)
    lower: float | None = None
    upper: float | None = None
    values: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    cumulative: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        ends = {name: end for name, end in (("lower", self.lower), ("upper", self.upper)) if end is not None}
        lists = {name: list(getattr(self, name)) for name in ("values", "weights", "cumulative") if getattr(self, name)}
        return {"distribution": str(self.kind), **self.parameters, **ends, **lists}


@dataclass(frozen=True)
class Factor:
    """What a design varies: a range, levels, or a distribution.

    Attributes
    ----------
    unit : of all its numbers, as people write it; None: bare numbers, in the unit of the port's own system
    low, high : of a range
    nominal : where it stays while others vary; the middle of the range unless said
    levels : single values, numbers in `unit` or any JSON
    steps : how many levels a range is divided into
    whole : only whole numbers (optimisation)
    """

    name: str
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    nominal: float | None = None
    levels: tuple[Any, ...] = ()
    steps: int | None = None
    spacing: Spacing = Spacing.LINEAR
    whole: bool = False
    distribution: Distribution | None = None

    def as_dict(self) -> dict[str, Any]:
        said: dict[str, Any] = {"unit": self.unit, "low": self.low, "high": self.high, "nominal": self.nominal}
        said["levels"] = list(self.levels) or self.steps
        said["spacing"] = str(self.spacing) if self.spacing is not Spacing.LINEAR else None
        said["whole"] = self.whole or None
        said |= self.distribution.as_dict() if self.distribution else {}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Design:
    """A design of experiments. Fields that its kind does not use stay as they are by default.

    Attributes
    ----------
    points : how many a sampled design has; for `sobol_indices` the base sample N, which is drawn k + 2 times; of
        `morris` the number of trajectories
    seed : of a random design, always set
    correlation : of the factors' normal scores, row by row in their order; () where they are independent
    generators : of a fractional factorial: a factor and the product of base factors, with its sign, that it follows
    rows : of a list or CSV: what was given, one mapping a point
    grid_levels : of `morris`, an even number
    notes : what was read otherwise than written, for a person
    """

    kind: DesignKind
    factors: tuple[Factor, ...] = ()
    points: int = 0
    seed: int | None = None
    correlation: tuple[tuple[float, ...], ...] = ()
    optimised: bool = False
    scrambled: bool = True
    generators: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    centre_points: int = 0
    alpha: float = 1.0
    variant: Variant = Variant.CIRCUMSCRIBED
    grid_levels: int = 4
    rows: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.rows[0]) if self.rows else tuple(factor.name for factor in self.factors)
