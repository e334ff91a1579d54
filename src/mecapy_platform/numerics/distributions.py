"""Quantiles of a factor: from probabilities or normal scores to values in its unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.sampling.kinds import DistributionKind, Spacing
from mecapy_platform.core.sampling.records import Distribution, Factor

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEAST_PROBABILITY = 1e-12  # random numbers that a generator gives are kept so far from 0 and 1


def from_probabilities(factor: Factor, probabilities: Array) -> Array:
    """Values whose probabilities of lying below them are these, each between 0 and 1."""
    inside = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY) if factor.distribution else probabilities
    return _quantiles(factor, inside, 1 - inside)


def from_scores(factor: Factor, scores: Array) -> Array:
    """Values as rare as these scores of a standard normal variable, exact in both tails."""
    return _quantiles(factor, special.ndtr(scores), special.ndtr(-scores))


def scores_of(probabilities: Array) -> Array:
    """Standard normal scores."""
    inside = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(special.ndtri(inside))


def _quantiles(factor: Factor, below: Array, above: Array) -> Array:
    """`below` and `above` add up to 1; the smaller of the two is the exact one."""
    if factor.distribution is None:
        return _in_range(factor, below)
    if factor.distribution.kind is DistributionKind.TABLE:
        return _in_table(factor.distribution, below)
    frozen = frozen_of(factor.distribution)
    if factor.distribution.lower is None and factor.distribution.upper is None:
        return _joined(frozen, below, above)
    lower = -np.inf if factor.distribution.lower is None else factor.distribution.lower
    upper = np.inf if factor.distribution.upper is None else factor.distribution.upper
    is_above = frozen.cdf(lower) > 0.5  # there what lies above is the exact one
    inside = frozen.sf(lower) - frozen.sf(upper) if is_above else frozen.cdf(upper) - frozen.cdf(lower)
    if not inside > 0:
        said = "No probability that could be calculated with lies between 'lower' and 'upper'."
        problem = Problem(f"factors.{factor.name}.upper", "out_of_range", said)
        raise InvalidInputError("design_invalid", "This design cannot be drawn.", problems=[problem])
    found = _joined(frozen, frozen.cdf(lower) + below * inside, frozen.sf(upper) + above * inside)
    return np.asarray(np.clip(found, lower, upper))


def _joined(frozen: Any, below: Array, above: Array) -> Array:
    return np.asarray(np.where(below < above, frozen.ppf(below), frozen.isf(above)))


def _in_range(factor: Factor, share: Array) -> Array:
    assert factor.low is not None
    assert factor.high is not None
    if factor.spacing is Spacing.LOG:
        return np.asarray(factor.low * (factor.high / factor.low) ** share)
    return factor.low + (factor.high - factor.low) * share


def _in_table(distribution: Distribution, below: Array) -> Array:
    values = np.array(distribution.values)
    if distribution.cumulative:
        return np.asarray(np.interp(below, np.array(distribution.cumulative), values))
    places = np.searchsorted(np.cumsum(distribution.weights), below, side="left")
    return np.asarray(values[np.minimum(places, len(values) - 1)])


def frozen_of(distribution: Distribution) -> Any:
    """SciPy's distribution with our parameters, not truncated."""
    said = distribution.parameters
    match distribution.kind:
        case DistributionKind.NORMAL:
            return stats.norm(said["mean"], said["std"])
        case DistributionKind.LOG_NORMAL:
            mean = said["mean"] - said["location"]
            sigma = np.sqrt(np.log1p((said["std"] / mean) ** 2))
            return stats.lognorm(sigma, said["location"], mean * np.exp(-(sigma**2) / 2))
        case DistributionKind.UNIFORM:
            return stats.uniform(said["low"], said["high"] - said["low"])
        case DistributionKind.TRIANGULAR:
            width = said["high"] - said["low"]
            return stats.triang((said["mode"] - said["low"]) / width, said["low"], width)
        case DistributionKind.WEIBULL:
            return stats.weibull_min(said["shape"], said["location"], said["scale"])
        case DistributionKind.TABLE:
            raise AssertionError("a table has no parameters")
