"""The lightest helical compression spring.

Three unknowns, four limits, by sequential quadratic programming from several starts.
"""

import math

import numpy as np
from scipy.optimize import NonlinearConstraint, minimize

LIMITS = ("deflection", "stress", "frequency", "outer diameter")
STARTS = ((4.0, 6.0), (4.0, 14.0), (7.0, 10.0), (12.0, 4.0))  # spring index D/d, active coils


class DesignError(ValueError):
    """No spring meets the limits."""


def design(
    load,
    deflection,
    allowable_stress,
    outer_diameter,
    least_frequency,
    shear_modulus=79.3e9,
    density=7850.0,
    inactive_coils=2.0,
):
    """Least mass of wire. SI units; see README.md for the formulas and where they come from."""
    if min(load, deflection, allowable_stress, outer_diameter, least_frequency, shear_modulus, density) <= 0:
        raise ValueError("Loads, sizes, frequency and properties must be above 0.")
    unit = outer_diameter  # lengths are scaled by it, so that the three unknowns are of one order

    def margins(unknowns):
        """How far inside each limit, as a part of it; at least 0 for a spring that will do."""
        wire, coil, coils = unknowns[0] * unit, unknowns[1] * unit, unknowns[2] * 10
        index = coil / wire
        wahl = (4 * index - 1) / (4 * index - 4) + 0.615 / index
        return np.array(
            [
                8 * load * coil**3 * coils / (shear_modulus * wire**4) / deflection - 1,
                1 - wahl * 8 * load * coil / (math.pi * wire**3) / allowable_stress,
                wire / (2 * math.pi * coil**2 * coils) * math.sqrt(shear_modulus / (2 * density)) / least_frequency - 1,
                1 - (coil + wire) / outer_diameter,
            ]
        )

    def volume(unknowns):
        return (unknowns[2] * 10 + inactive_coils) * unknowns[1] * unknowns[0] ** 2

    stress_wire = (8 * load / (math.pi * allowable_stress)) ** 0.5
    found = []
    for index, coils in STARTS:
        wire = min(1.2 * stress_wire * index**0.5, outer_diameter / (index + 1)) / unit
        start = np.array([wire, index * wire, coils / 10])
        done = minimize(
            volume,
            start,
            method="SLSQP",
            bounds=[(1e-4, 0.5), (1e-3, 1.0), (0.1, 5.0)],
            constraints=[NonlinearConstraint(margins, 0, np.inf), {"type": "ineq", "fun": lambda x: x[1] / x[0] - 2}],
            options={"maxiter": 500, "ftol": 1e-14},
        )
        if np.all(margins(done.x) > -1e-6):
            found.append(done.x)
    if not found:
        raise DesignError(
            "No spring meets these limits: allow more stress or a larger outer diameter, or ask for less frequency."
        )
    best = min(found, key=volume)
    wire, coil, coils = float(best[0] * unit), float(best[1] * unit), float(best[2] * 10)
    content = math.pi**2 / 4 * (coils + inactive_coils) * coil * wire**2
    governing = [name for name, margin in zip(LIMITS, margins(best), strict=True) if margin < 1e-4]
    return {
        "wire": wire,
        "coil": coil,
        "active_coils": coils,
        "volume": content,
        "mass": density * content,
        "governing": governing,
    }
