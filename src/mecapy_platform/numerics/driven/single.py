"""Studies of a single factor: the root of an expression, and convergence with a step."""

from typing import Any

import numpy as np
from scipy import optimize

from mecapy_platform.core.sampling.driven import Driven
from mecapy_platform.numerics.distributions import Array, from_probabilities
from mecapy_platform.numerics.driven.replay import BudgetSpent, DrivenError, Replay
from mecapy_platform.numerics.statistics.convergence import extrapolate


def find_root(driven: Driven, replay: Replay) -> dict[str, Any]:
    """Brent's method between the ends of the range, which must lie on both sides of the target."""
    factor = driven.factors[0]

    def misses(shares: Array) -> Array:
        values = replay.evaluate(from_probabilities(factor, shares)[:, None])[:, 0] - driven.target
        return _whole(values)

    try:
        ends = misses(np.array([0.0, 1.0]))
        if np.sign(ends[0]) == np.sign(ends[1]) and ends[0] != 0:
            said = (
                f"At the ends of the range the expression gives {ends[0] + driven.target:g} and "
                f"{ends[1] + driven.target:g}, "
                f"both on the same side of {driven.target:g}. Choose a range that holds the root."
            )
            raise DrivenError("root_not_bracketed", said)
        share = optimize.brentq(lambda share: misses(np.array([share]))[0], 0.0, 1.0, xtol=driven.tolerance)
        miss, ended = misses(np.array([share]))[0], "converged"
    except BudgetSpent:
        told = replay.told()[:, 0] - driven.target
        best = int(np.argmin(np.abs(told)))
        return _root(replay, replay.asked[best], float(told[best]), "budget")
    point = tuple(from_probabilities(factor, np.array([share])).tolist())
    return _root(replay, point, float(miss), ended)


def _root(replay: Replay, point: tuple[float, ...], miss: float, ended: str) -> dict[str, Any]:
    return {"ended": ended, "inputs": replay.written(point), "miss": miss, "points": len(replay.asked)}


def _whole(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise DrivenError(
            "point_failed", "A point that this study needs has failed: run it again, or change the range."
        )
    return values


def converge(driven: Driven, replay: Replay) -> dict[str, Any]:
    """Refines until the extrapolated value is known to within the tolerance, by the grid convergence index."""
    levels = _levels(driven)
    found: list[dict[str, Any]] = []
    ended = "range"
    for number in range(1, len(levels) + 1):
        try:
            batch = levels[: max(3, number)] if number <= 3 else levels[number - 1 : number]
            replay.evaluate(batch[:, None])
        except BudgetSpent:
            ended = "budget"
            break
        value = float(_whole(replay.evaluate(levels[number - 1 : number, None]))[0, 0])
        found.append({"level": float(levels[number - 1]), "value": value})
        if number >= 3 and _refined(driven, found):
            ended = "converged"
            break
    last = found[-1] if found else {}
    told = {name: last.get(name) for name in ("order", "extrapolated", "error", "index", "monotone")}
    inputs = [replay.written(point) for point in replay.asked[: len(found)]]
    series = [{"inputs": each, **row} for each, row in zip(inputs, found, strict=True)]
    return {"ended": ended, "series": series, **told, "points": len(replay.asked)}


def _refined(driven: Driven, found: list[dict[str, Any]]) -> bool:
    """Adds what the last three levels tell; whether that is enough."""
    three = found[-3:]
    steps = [1 / row["level"] if driven.grows else row["level"] for row in three]
    told = extrapolate((steps[0], steps[1], steps[2]), (three[0]["value"], three[1]["value"], three[2]["value"]))
    found[-1] |= {"order": told.order, "extrapolated": told.value, "error": told.error, "index": told.index}
    found[-1]["monotone"] = told.monotone
    return told.index is not None and told.monotone and told.index <= driven.tolerance


def _levels(driven: Driven) -> Array:
    """From coarse to fine, each `ratio` finer, inside the range; whole numbers where the factor asks for them."""
    factor = driven.factors[0]
    assert factor.low is not None
    assert factor.high is not None
    count = int(np.floor(np.log(factor.high / factor.low) / np.log(driven.ratio) * (1 + 1e-12) + 1e-9)) + 1
    powers = driven.ratio ** np.arange(min(count, driven.points))
    levels = factor.low * powers if driven.grows else factor.high / powers
    if factor.whole:
        levels = np.round(levels)
        _, first = np.unique(levels, return_index=True)
        levels = levels[np.sort(first)]
    if len(levels) < 3:
        said = "Convergence needs three levels: widen the range, lower 'ratio', or allow more points."
        raise DrivenError("convergence_too_short", said)
    return np.asarray(levels)
