"""Single bolted joint, concentrically clamped and loaded, after VDI 2230 Part 1 (2015). SI units throughout.

Symbols in the docstrings are those of the guideline; R0 .. R13 are its calculation steps.
"""

import math

from thread import Bolt, circle

FLANK = math.cos(math.radians(30))  # half the thread angle of ISO metric threads


def tightening_torque(bolt: Bolt, preload: float, mu_thread: float, mu_head: float) -> float:
    """R13: M_A = F_M (P / 2π + d2/2 μ_G / cos 30° + D_Km/2 μ_K), N·m.

    R. Kellermann and H.-C. Klein, Konstruktion 7 (1955); the same as N. Motosh, J. Eng. Ind. 98 (1976). D_Km is the
    mean of bearing and hole diameter. The guideline rounds the factors to 0.16 and 0.58.
    """
    return preload * torque_per_force(bolt, mu_thread, mu_head)


def torque_per_force(bolt: Bolt, mu_thread: float, mu_head: float) -> float:
    """M_A / F_M, m."""
    return thread_torque_per_force(bolt, mu_thread) + mu_head * (bolt.bearing_diameter + bolt.hole_diameter) / 4


def thread_torque_per_force(bolt: Bolt, mu_thread: float) -> float:
    """M_G / F_M, the part of the torque that twists the bolt, m."""
    return bolt.pitch / (2 * math.pi) + bolt.d2 / 2 * mu_thread / FLANK


def permitted_preload(bolt: Bolt, mu_thread: float, utilisation: float) -> float:
    """R7: F_Mzul, the preload at which tension and torsion while tightening use `utilisation` of the yield strength, N.

    F_M = A_0 ν R_p0.2 / sqrt(1 + 3 (3/2 d2/d0 (P/(π d2) + 1.155 μ_G))²), with d0 the diameter of the stress section:
    the torsion is that of a section which yields throughout, W_P = π d0³ / 12. Table A1 of the guideline lists it for ν
    = 0.9.
    """
    d0 = bolt.stress_diameter
    twist = 1.5 * bolt.d2 / d0 * (bolt.pitch / (math.pi * bolt.d2) + mu_thread / FLANK)
    return circle(d0) * utilisation * bolt.yield_strength / math.sqrt(1 + 3 * twist**2)


def bolt_compliance(bolt: Bolt, clamp_length: float, modulus: float) -> float:
    """Section 5.1.1: δ_S of a through bolt with nut, threaded over the whole clamp length, m/N.

    δ_S = 0.5 d/(E A_N) [head] + l_K/(E A_d3) [free thread] + 0.5 d/(E A_d3) [engaged thread] + 0.4 d/(E A_N) [nut].
    """
    shank, root = circle(bolt.d), circle(bolt.d3)
    return (0.5 * bolt.d / shank + clamp_length / root + 0.5 * bolt.d / root + 0.4 * bolt.d / shank) / modulus


def plate_compliance(bolt: Bolt, clamp_length: float, plate_diameter: float, modulus: float) -> float:
    """Section 5.1.2: δ_P of clamped parts around a through bolt (w = 1), m/N.

    Two cones and, where they meet the edge, a sleeve.

    tan φ = 0.362 + 0.032 ln(l_K / (2 d_w)) + 0.153 ln(D_A / d_w); the cones reach D_Gr = d_w + l_K tan φ at mid-length.
    """
    inner, bearing = bolt.hole_diameter, bolt.bearing_diameter
    if plate_diameter <= bearing:
        return clamp_length / (modulus * (circle(plate_diameter) - circle(inner)))
    slope = cone_slope(bolt, clamp_length, plate_diameter)
    widest = min(plate_diameter, bearing + clamp_length * slope)
    cones = (
        2 / (inner * slope) * math.log((bearing + inner) * (widest - inner) / ((bearing - inner) * (widest + inner)))
    )
    sleeve = 4 / (widest**2 - inner**2) * (clamp_length - (widest - bearing) / slope)
    return (cones + sleeve) / (modulus * math.pi)


def cone_slope(bolt: Bolt, clamp_length: float, plate_diameter: float) -> float:
    """tan φ_D of the deformation cone of a through-bolted joint."""
    slenderness, width = clamp_length / bolt.bearing_diameter, plate_diameter / bolt.bearing_diameter
    return 0.362 + 0.032 * math.log(slenderness / 2) + 0.153 * math.log(width)


def working_stress(bolt: Bolt, preload: float, extra: float, mu_thread: float) -> float:
    """R8: σ_red,B = sqrt(σ_z² + 3 (k_τ τ)²) with k_τ = 0.5, σ_z = (F_M + F_SA)/A_0, τ = M_G / (π d0³ / 12)... in Pa.

    The guideline takes W_P = π d0³ / 16 here, as the bolt stays elastic under load.
    """
    d0 = bolt.stress_diameter
    tension = (preload + extra) / circle(d0)
    torsion = preload * thread_torque_per_force(bolt, mu_thread) / (math.pi * d0**3 / 16)
    return math.sqrt(tension**2 + 3 * (0.5 * torsion) ** 2)


def endurance_amplitude(bolt: Bolt) -> float:
    """R9: σ_ASV = 0.85 (150 / d + 45) MPa with d in mm: thread rolled before heat treatment, two million cycles.

    In Pa.
    """
    return 0.85 * (150 / (bolt.d * 1e3) + 45) * 1e6
