"""Several columns at once: correlation, regression, the Pareto set."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.numerics.distributions import Array, Mask

MAX_TERMS = 2_000
MAX_FRONT = 50_000


def correlation(columns: Mapping[str, Array], confidence: float) -> dict[str, Any]:
    """Pearson's and Spearman's matrices; intervals of Pearson's by Fisher's transformation. Constant columns: null."""
    names, table = list(columns), np.stack(list(columns.values()))
    pearson, ranks = _matrix(table), _matrix(np.stack([stats.rankdata(column) for column in table]))
    count = table.shape[1]
    pairs = []
    for first, second in combinations(range(len(names)), 2):
        value = pearson[first, second]
        interval = _fisher(float(value), count, confidence) if np.isfinite(value) and count > 3 else None
        pairs.append({"pair": [names[first], names[second]], "pearson": float(value), "interval": interval})
    return {"names": names, "pearson": pearson.tolist(), "spearman": ranks.tolist(), "pairs": pairs}


def _matrix(table: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(table))


def _fisher(value: float, count: int, confidence: float) -> list[float]:
    reach = stats.norm.isf((1 - confidence) / 2) / np.sqrt(count - 3)
    middle = np.arctanh(np.clip(value, -1 + 1e-15, 1 - 1e-15))
    return [float(np.tanh(middle - reach)), float(np.tanh(middle + reach))]


def regression(inputs: Mapping[str, Array], output: Array, confidence: float, *, quadratic: bool) -> dict[str, Any]:
    """Least squares with an intercept; with `quadratic`, squares and products too (a response surface).

    Factors are centred and scaled by their standard deviations for the calculation; coefficients are told in the
    factors' own units, `standardised` ones as output deviations per input deviation.
    """
    names, table, scales = _terms(inputs, quadratic=quadratic)
    count, size = table.shape
    if count <= size:
        said = f"{size} coefficients need more than {size} points; there are {count}."
        raise InvalidInputError("regression_impossible", said)
    solved, _, rank, _ = np.linalg.lstsq(table, output, rcond=None)
    if rank < size:
        said = "Factors move together, or one does not vary: their effects cannot be told apart."
        raise InvalidInputError("regression_impossible", said)
    rest = output - table @ solved
    freedom = count - size
    total, left = float(np.sum((output - output.mean()) ** 2)), float(rest @ rest)
    errors = np.sqrt(np.diag(np.linalg.inv(table.T @ table)) * left / freedom)
    reach = float(stats.t.isf((1 - confidence) / 2, freedom))
    deviation = float(np.std(output, ddof=1))
    share = 1 - left / total if total > 0 else None
    terms = [
        {
            "term": name,
            "coefficient": float(value / scale),
            "interval": [float((value - reach * error) / scale), float((value + reach * error) / scale)],
            "standardised": float(value / deviation) if deviation > 0 and place else None,
        }
        for place, (name, value, error, scale) in enumerate(zip(names, solved, errors, scales, strict=True))
    ]
    centres = {name: float(np.mean(column)) for name, column in inputs.items()}
    adjusted = None if share is None else 1 - (1 - share) * (count - 1) / freedom
    return {"terms": terms, "centres": centres, "r_squared": share, "adjusted_r_squared": adjusted, "count": count}


def _terms(inputs: Mapping[str, Array], *, quadratic: bool) -> tuple[list[str], Array, list[float]]:
    """Names, columns and scales of the terms, all of centred factors."""
    names, columns, scales = ["1"], [np.ones(len(next(iter(inputs.values()))))], [1.0]
    centred = {}
    for name, values in inputs.items():
        scale = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        centred[name] = ((values - values.mean()) / (scale or 1.0), scale or 1.0)
    for name, (values, scale) in centred.items():
        names.append(name)
        columns.append(values)
        scales.append(scale)
    if quadratic:
        pairs = [(name, name) for name in centred] + list(combinations(centred, 2))
        for first, second in pairs:
            names.append(f"{first}*{second}")
            columns.append(centred[first][0] * centred[second][0])
            scales.append(centred[first][1] * centred[second][1])
    if len(names) > MAX_TERMS:
        raise InvalidInputError("regression_impossible", f"At most {MAX_TERMS:,} terms can be fitted.")
    return names, np.stack(columns, axis=1), scales


def pareto(objectives: Array, maximise: Sequence[bool], feasible: Mask) -> list[int]:
    """Indices of the points that no other feasible point beats, in the order of the first objective.

    Parameters
    ----------
    objectives : shape (points, objectives)
    feasible : whether each point meets its constraints and has values
    """
    signs = np.where(np.asarray(maximise), -1.0, 1.0)
    places = np.flatnonzero(feasible & np.isfinite(objectives).all(axis=1))
    costs = objectives[places] * signs
    order = np.lexsort(costs.T[::-1])
    front: list[int] = []
    best = np.empty((0, costs.shape[1]))
    for place in order:
        beaten = (best <= costs[place]).all(axis=1)
        if not (beaten & (best < costs[place]).any(axis=1)).any():
            front.append(int(place))
            best = np.vstack([best, costs[place]])
    return [int(places[place]) for place in front]
