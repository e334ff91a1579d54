"""Preloaded bolted joints by hand formulas: `size` after VDI 2230, `check` after Eurocode 3, `preload` from a torque.

SI units throughout: lengths in m, forces in N, moments in N·m, stresses in Pa. Standard library only.
"""

import vdi2230 as vdi
from thread import circle, hexagon_bolt

STEEL = 205e9  # Young's modulus of steel, Pa (VDI 2230, table A9)


def size(
    diameter,
    load,
    grade=8.8,
    mu_thread=0.12,
    mu_head=0.12,
    clamp_length=None,
    plate_diameter=None,
    plate_modulus=STEEL,
    load_introduction=0.5,
    tightening_factor=1.6,
    utilisation=0.9,
    embedding=11e-6,
    permitted_pressure=710e6,
):
    """Steps R3 to R10 of VDI 2230 for one through bolt with hexagon head and nut; the load pulsates from 0 to `load`.

    The bolt is tightened by torque to `utilisation` of its yield strength; `tightening_factor` α_A is the scatter
    F_Mmax/F_Mmin (table A8: 1.4 .. 1.6 for a torque wrench), `embedding` f_Z the loss of length by settling (table 5: 3
    + 3 + 3 + 2 µm for one joint between milled faces), `load_introduction` n the height at which the load enters
    (section 5.2.2). `permitted_pressure` p_G of table A9 is 710 MPa for E295, 490 MPa for S235.
    `clamp_length` l_K is 2 d and `plate_diameter` D_A is 3 d_w where nothing is given.
    """
    require_positive(
        diameter=diameter, clamp_length=clamp_length, plate_diameter=plate_diameter, plate_modulus=plate_modulus
    )
    require_positive(mu_thread=mu_thread, mu_head=mu_head, tightening_factor=tightening_factor, utilisation=utilisation)
    if load < 0:
        raise ValueError(f"load is {load:g} N; this joint carries tension: give a load of 0 or more.")
    bolt = hexagon_bolt(diameter, float(grade))
    length = clamp_length or 2 * bolt.d
    width = plate_diameter or 3 * bolt.bearing_diameter
    if width <= bolt.hole_diameter:
        raise ValueError(
            f"plate_diameter {width * 1e3:g} mm leaves no material around the hole of {bolt.hole_diameter * 1e3:g} mm."
        )

    preload_max = vdi.permitted_preload(bolt, mu_thread, utilisation)
    bolt_compliance = vdi.bolt_compliance(bolt, length, STEEL)
    plate_compliance = vdi.plate_compliance(bolt, length, width, plate_modulus)
    load_factor = (
        load_introduction * plate_compliance / (bolt_compliance + plate_compliance)
    )  # R3: Φ_n = n δ_P / (δ_S + δ_P)
    loss = embedding / (bolt_compliance + plate_compliance)  # R4: F_Z = f_Z / (δ_S + δ_P)
    clamp = (
        preload_max / tightening_factor - loss - (1 - load_factor) * load
    )  # R5: F_KR = F_Mmax / α_A - F_Z - (1 - Φ) F_A
    extra = load_factor * load  # F_SA = Φ F_A
    stress = vdi.working_stress(bolt, preload_max, extra, mu_thread)
    amplitude = extra / (2 * bolt.stress_area)  # R9: σ_a = F_SA / (2 A_S)
    pressure = (preload_max + extra) / (
        circle(bolt.bearing_diameter) - circle(bolt.hole_diameter)
    )  # R10: p_B = F_Smax / A_p
    factors = {
        "yield": bolt.yield_strength / stress,
        "pressure": permitted_pressure / pressure,
        **({"fatigue": vdi.endurance_amplitude(bolt) / amplitude} if amplitude > 0 else {}),
    }
    return {
        "preload": preload_max,
        "torque": vdi.tightening_torque(bolt, preload_max, mu_thread, mu_head),
        "bolt_stiffness": 1 / bolt_compliance,
        "plate_stiffness": 1 / plate_compliance,
        "load_factor": load_factor,
        "preload_loss": loss,
        "residual_clamp_force": clamp,
        "bolt_force": preload_max + extra,
        "stress": stress,
        "stress_amplitude": amplitude,
        "bearing_pressure": pressure,
        "safety": factors,
        "holds": clamp > 0 and min(factors.values()) >= 1.0,
    }


def check(
    diameter,
    tension,
    shear,
    grade=8.8,
    slip_factor=0.3,
    slip_planes=1,
    hole_factor=1.0,
    gamma_m2=1.25,
    gamma_m3=1.25,
    threads_in_shear=True,
):
    """One preloaded bolt of category C or E after EN 1993-1-8:2005.

    Tension, shear, both together, slip at the ultimate limit state.

    F_t,Rd = 0.9 f_ub A_s / γ_M2 and F_v,Rd = α_v f_ub A / γ_M2 for each plane (table 3.4; α_v = 0.6, and 0.5 for class
    10.9 with the thread in the shear plane), F_v/F_v,Rd + F_t/(1.4 F_t,Rd) <= 1 (table 3.4), F_p,C = 0.7 f_ub A_s
    (3.7), F_s,Rd = k_s n μ (F_p,C - 0.8 F_t) / γ_M3 (3.8b). f_ub is the nominal 800 or 1000 MPa of table 3.1.
    """
    require_positive(diameter=diameter, slip_factor=slip_factor, slip_planes=slip_planes, hole_factor=hole_factor)
    nominal = {8.8: 800e6, 10.9: 1000e6}
    if float(grade) not in nominal:
        raise ValueError(f"EN 1993-1-8 preloads bolts of class 8.8 and 10.9 only, not {grade}.")
    if tension < 0 or shear < 0:
        raise ValueError("tension and shear are amounts: give 0 or more.")
    bolt, strength = hexagon_bolt(diameter, float(grade)), nominal[float(grade)]
    factor = 0.5 if float(grade) == 10.9 and threads_in_shear else 0.6
    area = bolt.stress_area if threads_in_shear else circle(bolt.d)
    preload_force = 0.7 * strength * bolt.stress_area
    resistances = {
        "tension": 0.9 * strength * bolt.stress_area / gamma_m2,
        "shear": slip_planes * factor * strength * area / gamma_m2,
        "slip": max(0.0, hole_factor * slip_planes * slip_factor * (preload_force - 0.8 * tension) / gamma_m3),
    }
    uses = {
        "tension": tension / resistances["tension"],
        "shear": shear / resistances["shear"],
        "combined": shear / resistances["shear"] + tension / (1.4 * resistances["tension"]),
    }
    slips = shear > resistances["slip"]
    if resistances["slip"] > 0:
        uses["slip"] = shear / resistances["slip"]
    governing = "slip" if slips else max(uses, key=lambda name: uses[name])
    return {
        "preload": preload_force,
        "tension_resistance": resistances["tension"],
        "shear_resistance": resistances["shear"],
        "slip_resistance": resistances["slip"],
        "utilisation": uses,
        "governing": governing,
        "holds": not slips and max(uses.values()) <= 1.0,
    }


def preload(diameter, torque, mu_thread=0.12, mu_head=0.12):
    """Preload that a tightening torque gives: F_M = M_A / (P / 2π + d2/2 μ_G / cos 30° + D_Km/2 μ_K).

    VDI 2230, R13.
    """
    require_positive(diameter=diameter, torque=torque)
    bolt = hexagon_bolt(diameter, 8.8)
    force = torque / vdi.torque_per_force(bolt, mu_thread, mu_head)
    return {"preload": force, "thread_torque": force * vdi.thread_torque_per_force(bolt, mu_thread)}


def require_positive(**values):
    wrong = [f"{name} is {value:g}" for name, value in values.items() if value is not None and value <= 0]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: give a value above 0.")
