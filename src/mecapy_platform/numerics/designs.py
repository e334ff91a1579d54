"""Draws the points of a design. The same design gives the same points, and a longer one begins with them."""

import json
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from scipy.stats import qmc

from mecapy_platform.core.sampling.correlation import cholesky
from mecapy_platform.core.sampling.kinds import RANDOM, DesignKind
from mecapy_platform.core.sampling.records import Design
from mecapy_platform.core.sampling.systematic import rows_of
from mecapy_platform.numerics.distributions import Array, from_probabilities, from_scores, scores_of

LINES_A_PIECE = 1_000


def draw(design: Design) -> Array:
    """The points of a random design, shape (points, factors), each column in its factor's unit."""
    shares = unit_sample(design)
    if not design.correlation:
        columns = [from_probabilities(factor, shares[:, place]) for place, factor in enumerate(design.factors)]
        return np.stack(columns, axis=1)
    lower = cholesky(design.correlation)
    assert lower is not None
    scores = scores_of(shares) @ np.array(lower).T
    return np.stack([from_scores(factor, scores[:, place]) for place, factor in enumerate(design.factors)], axis=1)


def unit_sample(design: Design) -> Array:
    """The points of a random design in the unit cube, before distributions and correlation."""
    size, rng = len(design.factors), np.random.default_rng(design.seed)
    match design.kind:
        case DesignKind.MONTE_CARLO:
            return rng.random((design.points, size))
        case DesignKind.LATIN_HYPERCUBE:
            optimization = "random-cd" if design.optimised else None
            return np.asarray(qmc.LatinHypercube(size, optimization=optimization, rng=rng).random(design.points))
        case DesignKind.SOBOL:
            return _sequence(qmc.Sobol(size, scramble=design.scrambled, rng=rng), design)
        case DesignKind.HALTON:
            return _sequence(qmc.Halton(size, scramble=design.scrambled, rng=rng), design)
        case DesignKind.SOBOL_INDICES:
            return _saltelli(design, rng)
        case _:
            return np.concatenate([_trajectory(size, design.grid_levels, rng) for _ in range(design.points)])


def inputs_of(design: Design, start: int, count: int) -> Iterator[dict[str, Any]]:
    """Inputs of the points from `start` on, as a function takes them: numbers, or texts with their factor's unit."""
    names = design.names
    rows: Any = draw(design)[start : start + count].tolist() if design.kind in RANDOM else None
    if rows is None:
        rows = islice(rows_of(design), start, start + count)
    units = [factor.unit for factor in design.factors] or [None] * len(names)
    for row in rows:
        yield {name: written(value, unit) for name, value, unit in zip(names, row, units, strict=True)}


def lines_of(design: Design, start: int, count: int) -> Iterator[bytes]:
    """The same as JSON, an object a line, in pieces of many lines."""
    rows = inputs_of(design, start, count)
    while piece := [json.dumps(inputs, ensure_ascii=False) for inputs in islice(rows, LINES_A_PIECE)]:
        yield ("\n".join(piece) + "\n").encode()


def written(value: Any, unit: str | None) -> Any:
    """A number with its unit as a text that reads back as the same number."""
    return value if unit is None or isinstance(value, str) else f"{value!r} {unit}"


def _sequence(engine: Any, design: Design) -> Array:
    """Without scrambling the first point is the corner, which no distribution can use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties", category=UserWarning)
        if not design.scrambled:
            engine.fast_forward(1)
        return np.asarray(engine.random(design.points))


def _saltelli(design: Design, rng: np.random.Generator) -> Array:
    """N rows of A, N of B, then for each factor A with that factor's column from B.

    A. Saltelli et al., Comput. Phys. Commun. 181 (2010) 259-270, with A and B from one Sobol' sequence.
    """
    size = len(design.factors)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties", category=UserWarning)
        both = np.asarray(qmc.Sobol(2 * size, rng=rng, bits=60).random(design.points))
    first, second = both[:, :size], both[:, size:]
    mixed = np.repeat(first[None], size, axis=0)
    for place in range(size):
        mixed[place, :, place] = second[:, place]
    return np.concatenate([first, second, *mixed])


def _trajectory(size: int, levels: int, rng: np.random.Generator) -> Array:
    """A path on a grid that changes each factor once, by half the grid. M. D. Morris, Technometrics 33 (1991) 161."""
    step = levels / (2 * (levels - 1))
    start = rng.integers(0, levels // 2, size) / (levels - 1)
    signs = rng.choice([-1, 1], size)
    point = np.where(signs > 0, start, start + step)
    path = [point]
    for place in rng.permutation(size):
        point = point.copy()
        point[place] += signs[place] * step
        path.append(point)
    return np.asarray(np.clip(np.stack(path), 0.0, 1.0))
