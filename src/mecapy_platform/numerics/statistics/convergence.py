"""Convergence with a step: observed order, Richardson's extrapolation, and the grid convergence index.

I. B. Celik et al., "Procedure for estimation and reporting of uncertainty due to discretization in CFD applications",
J. Fluids Eng. 130 (2008) 078001, after P. J. Roache (1994). Ratios of steps may differ.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

SAFETY = 1.25
MOST_ORDER = 30.0


@dataclass(frozen=True)
class Extrapolated:
    """`order` is None where the values do not converge monotonically; `index` is relative to the extrapolated value."""

    order: float | None
    value: float | None
    error: float | None
    index: float | None
    monotone: bool


def extrapolate(steps: tuple[float, float, float], values: tuple[float, float, float]) -> Extrapolated:
    """From the three finest solutions, the finest last.

    Parameters
    ----------
    steps : decreasing sizes (of a number of elements, its inverse)
    """
    coarse, middle, fine = values
    far, near = coarse - middle, middle - fine
    ratio_far, ratio_near = steps[0] / steps[1], steps[1] / steps[2]
    if near == 0:
        settled = far == 0
        return Extrapolated(None, fine, 0.0, 0.0, monotone=settled)
    if far / near <= 0:
        return Extrapolated(None, None, None, None, monotone=False)
    order = _order(far / near, ratio_far, ratio_near)
    if order is None:
        return Extrapolated(None, None, None, None, monotone=True)
    gain = ratio_near**order - 1
    value = fine - near / gain
    size = abs(value) or 1.0
    return Extrapolated(order, value, abs(value - fine) / size, SAFETY * abs(near) / gain / size, monotone=True)


def _order(change: float, ratio_far: float, ratio_near: float) -> float | None:
    """The p with change = near^p (far^p - 1) / (near^p - 1); None where the changes do not shrink."""

    def misfit(order: float) -> float:
        far, near = order * np.log(ratio_far), order * np.log(ratio_near)
        return float(near + np.log(np.expm1(far)) - np.log(np.expm1(near)) - np.log(change))

    least = 1e-6
    if misfit(least) > 0:
        return None
    return float(optimize.brentq(misfit, least, MOST_ORDER)) if misfit(MOST_ORDER) > 0 else None
