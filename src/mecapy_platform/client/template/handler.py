"""The calculation.

Inputs arrive as keyword arguments, in SI units whatever the caller typed; the outputs are a dict.
"""

import math


def deflection(load: float, length: float, diameter: float, young: float = 210e9) -> dict[str, float]:
    """Cantilever with a force at its tip: F L³ / (3 E I) and F L (d/2) / I, with I = π d⁴ / 64.

    Roark's Formulas for Stress and Strain, 7th ed. 2002, table 8.1, case 1a. Load in N, lengths in m, modulus in Pa.
    """
    if min(length, diameter, young) <= 0:
        raise ValueError("length, diameter and young must be above 0.")
    inertia = math.pi * diameter**4 / 64
    return {
        "deflection": load * length**3 / (3 * young * inertia),
        "stress": load * length * (diameter / 2) / inertia,
    }
