"""Probability of failure: the design point by FORM, then importance sampling about it.

The limit state is the expression: failure where it is at most 0. Hasofer and Lind (1974), Rackwitz and Fiessler (1978)
with the step of Zhang and Der Kiureghian (1995); factors become normal scores as in sampling. Sampling about the
design point: R. E. Melchers, Struct. Saf. 6 (1989) 3-10.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from mecapy_platform.core.sampling.correlation import cholesky
from mecapy_platform.core.sampling.driven import Driven
from mecapy_platform.numerics.distributions import Array, from_scores
from mecapy_platform.numerics.driven.replay import BudgetSpent, DrivenError, Replay

DIFFERENCE = 0.01  # in standard deviations
STEPS = np.array([1.0, 0.5, 0.25, 0.125])
MOST_ITERATIONS = 60


@dataclass(frozen=True)
class DesignPoint:
    """The likeliest point of failure, in independent standard normal variables."""

    place: Array
    gradient: Array
    limit: float
    begins_safe: bool
    converged: bool

    @property
    def beta(self) -> float:
        return float(np.linalg.norm(self.place)) * (1 if self.begins_safe else -1)


class LimitState:
    """The expression over independent standard normal variables."""

    def __init__(self, driven: Driven, replay: Replay) -> None:
        self._driven = driven
        self._replay = replay
        size = len(driven.factors)
        lower = cholesky(driven.correlation) if driven.correlation else None
        self._lower = np.eye(size) if lower is None else np.array(lower)

    def points(self, places: Array) -> Array:
        """In the factors' units."""
        scores = places @ self._lower.T
        columns = [from_scores(factor, scores[:, place]) for place, factor in enumerate(self._driven.factors)]
        return np.stack(columns, axis=1)

    def at(self, places: Array) -> Array:
        values = self._replay.evaluate(self.points(places))[:, 0]
        if not np.isfinite(values).all():
            said = "A point that this study needs has failed: run it again, or mend the function."
            raise DrivenError("point_failed", said)
        return values

    def gradient(self, place: Array) -> Array:
        steps = DIFFERENCE * np.eye(len(place))
        values = self.at(np.concatenate([place + steps, place - steps]))
        return np.asarray((values[: len(place)] - values[len(place) :]) / (2 * DIFFERENCE))


def reliability(driven: Driven, replay: Replay) -> dict[str, Any]:
    """FORM's index and probability, the share of each factor, and the sampled probability where it was asked for."""
    limit = LimitState(driven, replay)
    try:
        found = _form(driven, limit)
        answer = _told(driven, replay, limit, found)
        answer["sampled"] = _sampled(driven, limit, found) if driven.sampling_points else None
    except BudgetSpent:
        said = f"The design point has not been found within {driven.points:,} points: allow more."
        raise DrivenError("points_spent", said) from None
    return {**answer, "points": len(replay.asked)}


def _form(driven: Driven, limit: LimitState) -> DesignPoint:
    place = np.zeros(len(driven.factors))
    value = float(limit.at(place[None])[0])
    begins_safe, size = value > 0, abs(value) or 1.0
    gradient = limit.gradient(place)
    for _ in range(MOST_ITERATIONS):
        slope = float(np.linalg.norm(gradient))
        if slope == 0:
            said = "The limit state does not change with any factor: there is no design point."
            raise DrivenError("limit_state_flat", said)
        target = (gradient @ place - value) / slope**2 * gradient
        away = target - place
        if np.linalg.norm(away) <= driven.tolerance and abs(value) <= driven.tolerance * size:
            return DesignPoint(place, gradient, value, begins_safe, converged=True)
        tried = place + STEPS[:, None] * away
        values = limit.at(tried)
        weight = 2 * max(float(np.linalg.norm(place)), float(np.linalg.norm(target)), 1.0) / slope
        merits = 0.5 * (tried**2).sum(axis=1) + weight * np.abs(values)
        best = int(np.argmin(merits))
        place, value = tried[best], float(values[best])
        gradient = limit.gradient(place)
    return DesignPoint(place, gradient, value, begins_safe, converged=False)


def _told(driven: Driven, replay: Replay, limit: LimitState, found: DesignPoint) -> dict[str, Any]:
    direction = -found.gradient / np.linalg.norm(found.gradient)
    point = tuple(limit.points(found.place[None])[0].tolist())
    return {
        "ended": "converged" if found.converged else "not_converged",
        "beta": found.beta,
        "probability": float(special.ndtr(-found.beta)),
        "design_point": replay.written(point),
        "importance": {name: float(share**2) for name, share in zip(driven.names, direction, strict=True)},
    }


def _sampled(driven: Driven, limit: LimitState, found: DesignPoint) -> dict[str, Any]:
    """Normal variables about the design point, each weighed by how much rarer it is about the origin."""
    rng = np.random.default_rng([driven.seed, 1])
    places = found.place + rng.standard_normal((driven.sampling_points, len(found.place)))
    weights = np.exp(-places @ found.place + 0.5 * found.place @ found.place)
    counted = weights * (limit.at(places) <= 0)
    count, mean = len(counted), float(counted.mean())
    error = float(counted.std(ddof=1) / np.sqrt(count)) if count > 1 else None
    known = error is not None and mean > 0
    return {
        "probability": mean,
        "standard_error": error,
        "variation": error / mean if known and error is not None else None,
        "interval": [max(0.0, mean - 1.959964 * error), mean + 1.959964 * error] if error is not None else None,
        "beta": float(-special.ndtri(mean)) if 0 < mean < 1 else None,
        "sampling_points": count,
    }
