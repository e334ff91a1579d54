"""Optima of one objective, by SciPy: differential evolution (Storn and Price 1997) and COBYQA (Ragonneau 2022)."""

from typing import Any

import numpy as np
from scipy import optimize
from scipy.stats import qmc

from mecapy_platform.core.sampling.driven import Driven, Goal, Method
from mecapy_platform.numerics.distributions import Array, Mask, from_probabilities
from mecapy_platform.numerics.driven.replay import BudgetSpent, DrivenError, Replay

FAILED = 1e10  # the violation of a point that has no value
FEASIBLE = 1e-6  # how far a limit may be missed, of its size


def optimise(driven: Driven, replay: Replay) -> dict[str, Any]:
    """The best feasible point found, and how the search went."""
    try:
        search = _cobyqa if driven.method is Method.COBYQA else _differential_evolution
        search(driven, replay)
        ended = "converged"
    except BudgetSpent:
        ended = "budget"
    return {"ended": ended, **_best(driven, replay)}


def costs_of(driven: Driven, values: Array) -> Array:
    """Objectives to be minimised, shape (points, objectives); NaN where a point failed."""
    signs = np.array([-1.0 if each.goal is Goal.MAXIMISE else 1.0 for each in driven.objectives])
    return np.asarray(values[:, : len(driven.objectives)] * signs)


def violations_of(driven: Driven, values: Array) -> Array:
    """By how much each limit is missed, of its size; at most 0 where it holds. Shape (points, limits)."""
    columns = []
    for place, constraint in enumerate(driven.constraints, len(driven.objectives)):
        for limit, sign in ((constraint.at_most, 1.0), (constraint.at_least, -1.0)):
            if limit is not None:
                columns.append(sign * (values[:, place] - limit) / (abs(limit) or 1.0))
    found = np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))
    return np.where(np.isfinite(found), found, FAILED)


def feasible_of(driven: Driven, values: Array) -> Mask:
    whole = np.isfinite(values).all(axis=1)
    return np.asarray(whole & (violations_of(driven, values) <= FEASIBLE).all(axis=1), dtype=np.bool_)


def _differential_evolution(driven: Driven, replay: Replay) -> None:
    """The whole population is asked for at once; constraints are limits of their own, no penalty (Lampinen 2002)."""
    bounds = [_ends(factor.low, factor.high) for factor in driven.factors]
    rng = np.random.default_rng(driven.seed)
    first = qmc.LatinHypercube(len(bounds), rng=rng).random(driven.population)
    with np.errstate(all="ignore"):
        optimize.differential_evolution(
            lambda columns: _finite(costs_of(driven, replay.evaluate(columns.T))[:, 0], np.inf),
            bounds,
            init=qmc.scale(first, *np.array(bounds).T),
            maxiter=driven.points,
            tol=driven.tolerance,
            rng=rng,
            polish=False,
            updating="deferred",
            vectorized=True,
            integrality=[factor.whole for factor in driven.factors],
            constraints=_limits(driven, lambda columns: violations_of(driven, replay.evaluate(columns.T)).T),
        )


def _cobyqa(driven: Driven, replay: Replay) -> None:
    """In the unit cube, from the nominal point: quadratic models are fitted to the points, asked for singly."""

    def values_at(shares: Array) -> Array:
        columns = [
            from_probabilities(factor, np.clip(shares[place : place + 1], 0, 1))
            for place, factor in enumerate(driven.factors)
        ]
        return replay.evaluate(np.stack(columns, axis=1))

    size = len(driven.factors)
    start = [_share(factor.nominal, factor.low, factor.high) for factor in driven.factors]
    optimize.minimize(
        lambda shares: float(_finite(costs_of(driven, values_at(shares))[:, 0], FAILED)[0]),
        start,
        method="COBYQA",
        bounds=optimize.Bounds(np.zeros(size), np.ones(size)),
        constraints=_limits(driven, lambda shares: violations_of(driven, values_at(shares))[0]),
        options={"maxfev": driven.points, "initial_tr_radius": 0.25, "final_tr_radius": min(driven.tolerance, 0.1)},
    )


def _limits(driven: Driven, violations: Any) -> Any:
    return optimize.NonlinearConstraint(violations, -np.inf, 0.0) if driven.constraints else ()


def _finite(values: Array, otherwise: float) -> Array:
    return np.where(np.isfinite(values), values, otherwise)


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    assert low is not None
    assert high is not None
    return low, high


def _share(nominal: float | None, low: float | None, high: float | None) -> float:
    ends = _ends(low, high)
    return 0.5 if nominal is None else (nominal - ends[0]) / (ends[1] - ends[0])


def _best(driven: Driven, replay: Replay) -> dict[str, Any]:
    values = replay.told()
    costs, feasible = costs_of(driven, values)[:, 0], feasible_of(driven, values)
    whole = np.isfinite(values).all(axis=1)
    if not whole.any():
        raise DrivenError("no_point_completed", "No point of this optimisation has values: look at why points fail.")
    worst = violations_of(driven, values).max(axis=1, initial=0.0)
    order = np.lexsort((np.where(feasible, costs, 0.0), np.where(feasible, 0.0, worst), ~whole))
    best = int(order[0])
    history = np.minimum.accumulate(np.where(feasible, costs, np.inf))
    sign = -1.0 if driven.objectives[0].goal is Goal.MAXIMISE else 1.0
    return {
        "best": {
            "index": best,
            "inputs": replay.written(replay.asked[best]),
            "values": values[best].tolist(),
            "feasible": bool(feasible[best]),
        },
        "points": len(values),
        "failed": int((~whole).sum()),
        "history": (sign * history).tolist(),
    }
