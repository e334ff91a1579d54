"""Which factor matters: Sobol' indices, Morris' elementary effects, effects of two-level designs, the tornado."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from mecapy_platform.core.errors import ConflictError, InvalidInputError
from mecapy_platform.core.sampling.kinds import DesignKind
from mecapy_platform.core.sampling.records import Design
from mecapy_platform.core.sampling.systematic import levels
from mecapy_platform.numerics.designs import draw, unit_sample
from mecapy_platform.numerics.distributions import Array

RESAMPLES = 500


def sobol(design: Design, values: Array, confidence: float) -> list[dict[str, Any]]:
    """First-order and total indices of each factor with bootstrap intervals, from a design of kind `sobol_indices`.

    First order: A. Saltelli et al., Comput. Phys. Commun. 181 (2010) 259-270, table 2 (b); total: M. J. W. Jansen,
    Comput. Phys. Commun. 117 (1999) 35-43. Base points with a missing value are left out in all blocks.
    """
    _need(design, DesignKind.SOBOL_INDICES)
    blocks = values.reshape(len(design.factors) + 2, design.points)
    blocks = blocks[:, np.isfinite(blocks).all(axis=0)]
    count = blocks.shape[1]
    if count < 8:
        raise InvalidInputError("sample_too_small", "Sobol indices need at least 8 whole base points.")
    first, total = _indices(blocks)
    rng = np.random.default_rng(design.seed)
    drawn = np.array([_indices(blocks[:, rng.integers(0, count, count)]) for _ in range(RESAMPLES)])
    tail = (1 - confidence) / 2
    ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return [
        {
            "factor": factor.name,
            "first_order": float(first[place]),
            "first_order_interval": ends[:, 0, place].tolist(),
            "total": float(total[place]),
            "total_interval": ends[:, 1, place].tolist(),
            "base_points": count,
        }
        for place, factor in enumerate(design.factors)
    ]


def _indices(blocks: Array) -> tuple[Array, Array]:
    centred = blocks - blocks[:2].mean()
    first, second, mixed = centred[0], centred[1], centred[2:]
    variance = np.var(centred[:2])
    if variance == 0:
        return np.zeros(len(mixed)), np.zeros(len(mixed))
    return np.mean(second * (mixed - first), axis=1) / variance, np.mean((first - mixed) ** 2, axis=1) / variance / 2


def morris(
    design: Design, values: Array, confidence: float, inputs: Mapping[str, Array] | None = None
) -> list[dict[str, Any]]:
    """Mean, mean of magnitudes and deviation of the elementary effects over the whole range of each factor.

    M. D. Morris, Technometrics 33 (1991) 161-174; mean of magnitudes: F. Campolongo et al., Environ. Model. Softw. 22
    (2007) 1509-1518. A change whose ends have no value is left out. `inputs`, as they were recorded, must be those that
    the design draws now, in any linear unit: else ConflictError "study_not_repeatable".
    """
    _need(design, DesignKind.MORRIS)
    _judge_same(design, inputs or {})
    size = len(design.factors)
    steps = np.diff(unit_sample(design).reshape(design.points, size + 1, size), axis=1)
    changes = np.diff(values.reshape(design.points, size + 1), axis=1)
    which = np.argmax(np.abs(steps), axis=2)
    effects = changes / np.take_along_axis(steps, which[:, :, None], axis=2)[:, :, 0]
    return [
        {"factor": factor.name, **_effects(effects[which == place], confidence)}
        for place, factor in enumerate(design.factors)
    ]


def _judge_same(design: Design, inputs: Mapping[str, Array]) -> None:
    points = draw(design)
    for place, factor in enumerate(design.factors):
        recorded = inputs.get(factor.name, points[:, place])
        known = np.isfinite(recorded)
        if known.sum() < 3 or np.ptp(recorded[known]) == 0:
            continue
        if np.asarray(np.corrcoef(recorded[known], points[known, place]))[0, 1] < 1 - 1e-6:
            said = (
                "The recorded points are not those that this design draws now: the library has changed. Run it again."
            )
            raise ConflictError("study_not_repeatable", said)


def _effects(effects: Array, confidence: float) -> dict[str, Any]:
    found = effects[np.isfinite(effects)]
    count = len(found)
    if count < 2:
        raise InvalidInputError("sample_too_small", "Morris needs at least two whole trajectories.")
    sizes = np.abs(found)
    reach = float(stats.t.isf((1 - confidence) / 2, count - 1) * np.std(sizes, ddof=1) / np.sqrt(count))
    middle = float(sizes.mean())
    return {
        "mu": float(found.mean()),
        "mu_star": middle,
        "mu_star_interval": [middle - reach, middle + reach],
        "sigma": float(np.std(found, ddof=1)),
        "effects": count,
    }


def main_effects(design: Design, inputs: Array, values: Array) -> list[dict[str, Any]]:
    """Of two-level designs: mean at the high end less mean at the low end of each factor, largest first."""
    found = []
    for place, factor in enumerate(design.factors):
        column = inputs[:, place]
        high, low = values[column == column.max()], values[column == column.min()]
        effect = float(high.mean() - low.mean()) if column.min() < column.max() else 0.0
        found.append({"factor": factor.name, "effect": effect})
    return sorted(found, key=lambda said: -abs(float(str(said["effect"]))))


def tornado(design: Design, values: Array) -> dict[str, Any]:
    """Of a one-at-a-time design: the output at the nominal point and at the ends of each factor, widest first."""
    _need(design, DesignKind.ONE_AT_A_TIME)
    bars, start = [], 1
    for factor in design.factors:
        end = start + len(levels(factor))
        inside = values[start:end]
        start = end
        if not np.isfinite(inside).any():
            continue
        low, high = float(inside[0]), float(inside[-1])
        ends = [float(np.nanmin(inside)), float(np.nanmax(inside))]
        bars.append({"factor": factor.name, "low": low, "high": high, "swing": ends[1] - ends[0]})
    return {"nominal": float(values[0]), "bars": sorted(bars, key=lambda bar: -float(str(bar["swing"])))}


def _need(design: Design, kind: DesignKind) -> None:
    if design.kind is not kind:
        said = f"This needs a design of kind {kind}; the study's is {design.kind}."
        raise InvalidInputError("design_not_fitting", said)
