"""Which unit the numbers of a physical type are in, by the unit system of a package; how large ones are shown.

Light, for the client too: texts with units are read by core/units.
"""

import math
from enum import StrEnum

SHOWN_FROM = 1e5
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TAKE_PREFIX = frozenset({"m", "N", "Pa", "J", "W", "Hz"})


class UnitSystem(StrEnum):
    """The units a function's numbers are in; a bare number is taken as it is."""

    SI = "SI"
    MM_N_MPA = "mm-N-MPa"


# type -> (unit in SI, in mm-N-MPa, an example a person may copy)
UNITS: dict[str, tuple[str, str, str]] = {
    "Length": ("m", "mm", "12 mm"),
    "Area": ("m^2", "mm^2", "150 mm^2"),
    "Volume": ("m^3", "mm^3", "2 cm^3"),
    "Mass": ("kg", "t", "12 kg"),
    "Density": ("kg/m^3", "t/mm^3", "7850 kg/m^3"),
    "Time": ("s", "s", "10 min"),
    "Frequency": ("Hz", "Hz", "50 Hz"),
    "Angle": ("rad", "rad", "30 deg"),
    "Force": ("N", "N", "20 kN"),
    "Moment": ("N*m", "N*mm", "84 N*m"),
    "Pressure": ("Pa", "MPa", "6 bar"),
    "Stress": ("Pa", "MPa", "210 MPa"),
    "Temperature": ("K", "K", "20 degC"),
    "Energy": ("J", "N*mm", "5 kJ"),
    "Power": ("W", "N*mm/s", "3 kW"),
    "Velocity": ("m/s", "mm/s", "36 km/h"),
    "Acceleration": ("m/s^2", "mm/s^2", "9.81 m/s^2"),
}


def unit_of(type_name: str, system: UnitSystem = UnitSystem.SI) -> str | None:
    """The unit of a physical type's numbers; None for other types."""
    entry = UNITS.get(type_name)
    return entry and entry[0 if system is UnitSystem.SI else 1]


def with_prefix(largest: float, unit: str) -> tuple[float, str]:
    """(divisor, unit with prefix) for numbers whose largest magnitude is `largest`; (1, unit) where none is shown.

    Never for m² (a prefix is squared with it), K, kg, products or a unit that has a prefix already.
    """
    if unit not in _TAKE_PREFIX or not math.isfinite(largest) or abs(largest) < SHOWN_FROM:
        return 1.0, unit
    size, prefix = next((size, prefix) for size, prefix in _PREFIXES if abs(largest) >= size)
    return size, prefix + unit
