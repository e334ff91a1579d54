"""Pareto sets of several objectives, by pymoo's NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6 (2002) 182-197)."""

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from mecapy_platform.core.sampling.driven import Driven
from mecapy_platform.core.sampling.records import Factor
from mecapy_platform.numerics.distributions import Array, from_probabilities
from mecapy_platform.numerics.driven.optimisation import FAILED, costs_of, feasible_of, violations_of
from mecapy_platform.numerics.driven.replay import BudgetSpent, DrivenError, Replay
from mecapy_platform.numerics.statistics.dependence import pareto


def optimise_several(driven: Driven, replay: Replay) -> dict[str, Any]:
    """The points that no other beats when the budget is spent, or when nothing new is bred any more."""
    problem = _problem(driven)
    algorithm = NSGA2(pop_size=driven.population, repair=_WholeNumbers(driven.factors))
    algorithm.setup(problem, termination=NoTermination(), seed=driven.seed % 2**32, verbose=False)
    ended = "budget"
    try:
        while (asked := algorithm.ask()) is not None and len(asked):
            values = replay.evaluate(_points(driven, asked.get("X")))
            costs, misses = _judged(driven, values)
            Evaluator().eval(StaticProblem(problem, F=costs, G=misses), asked)
            algorithm.tell(infills=asked)
        ended = "exhausted"
    except BudgetSpent:
        pass
    return {"ended": ended, **_front(driven, replay)}


class _WholeNumbers(Repair):  # type: ignore[misc]
    """Rounds the variables of whole factors, which are bred as all others are."""

    def __init__(self, factors: tuple[Factor, ...]) -> None:
        super().__init__()
        self._whole = [factor.whole for factor in factors]

    def _do(self, _problem: Any, variables: Array, **_: Any) -> Array:
        return np.where(self._whole, np.round(variables), variables)


def _problem(driven: Driven) -> Any:
    """Whole factors vary over their numbers, others from 0 to 1. The first limit is that a point has values."""
    ends = [_ends(factor) for factor in driven.factors]
    limits = 1 + violations_of(driven, np.zeros((1, len(driven.values)))).shape[1]
    low, high = np.array(ends).T
    return Problem(n_var=len(ends), n_obj=len(driven.objectives), n_ieq_constr=limits, xl=low, xu=high)


def _ends(factor: Factor) -> tuple[float, float]:
    assert factor.low is not None
    assert factor.high is not None
    return (float(np.ceil(factor.low)), float(np.floor(factor.high))) if factor.whole else (0.0, 1.0)


def _points(driven: Driven, variables: Array) -> Array:
    columns = [
        variables[:, place] if factor.whole else from_probabilities(factor, variables[:, place])
        for place, factor in enumerate(driven.factors)
    ]
    return np.stack(columns, axis=1)


def _judged(driven: Driven, values: Array) -> tuple[Array, Array]:
    """Objectives and limits as the algorithm takes them: a failed point breaks the first limit, and all others."""
    whole = np.isfinite(values).all(axis=1, keepdims=True)
    costs = np.where(whole, costs_of(driven, values), FAILED)
    failed = np.where(whole, -1.0, FAILED)
    return costs, np.column_stack([failed, violations_of(driven, values)])


def _front(driven: Driven, replay: Replay) -> dict[str, Any]:
    values = replay.told()
    whole = np.isfinite(values).all(axis=1)
    if not whole.any():
        raise DrivenError("no_point_completed", "No point of this optimisation has values: look at why points fail.")
    maximise = [False] * len(driven.objectives)
    front = pareto(costs_of(driven, values), maximise, feasible_of(driven, values))
    points = [
        {"index": index, "inputs": replay.written(replay.asked[index]), "values": values[index].tolist()}
        for index in front
    ]
    return {"front": points, "points": len(values), "failed": int((~whole).sum())}
