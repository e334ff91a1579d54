"""Quantities as people write them ("12 mm", "20kN", "3/4 inch") become numbers in SI, or in a package's unit system.

Only a number followed by products of known units is read; nothing is ever evaluated. Temperature: on a `Temperature`
port "20 degC" and "68 degF" are points on a scale and become 293.15 K; a difference is written in K. An offset unit
never stands in a product. Angle counts as a dimension, so that "60 rpm" is 1 Hz (turns a second) and "5 rad" is no pure
number. The registry holds a closed list of units of mechanical engineering: in pint's own list "Nm" is a unit of yarn
and "pa" a time.
"""

import importlib
import math
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from mecapy_platform.core.errors import InvalidInputError, Problem

if TYPE_CHECKING:
    import pint

MAX_TEXT = 80


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
DEFINITIONS = """
micro- = 1e-6 = µ- = μ- = u-
nano- = 1e-9 = n-
milli- = 1e-3 = m-
centi- = 1e-2 = c-
deci- = 1e-1 = d-
hecto- = 1e2 = h-
kilo- = 1e3 = k-
mega- = 1e6 = M-
giga- = 1e9 = G-
tera- = 1e12 = T-
meter = [length] = m = metre
gram = [mass] = g
second = [time] = s = sec
kelvin = [temperature]; offset: 0 = K
radian = [angle] = rad
degree_Celsius = kelvin; offset: 273.15 = degC = celsius
degree_Fahrenheit = 5 / 9 * kelvin; offset: 233.15 + 200 / 9 = degF = fahrenheit
degree = 0.017453292519943295 * radian = deg
turn = 6.283185307179586 * radian = turn = revolution = rev
minute = 60 * second = min
hour = 3600 * second = h = hr
day = 86400 * second = d
hertz = 1 / second = Hz
rpm = turn / minute
tonne = 1000000 * gram = t = ton
newton = 1000 * gram * meter / second ** 2 = N
newton_meter = newton * meter = Nm
newton_millimeter = newton * meter / 1000 = Nmm
pascal = newton / meter ** 2 = Pa
bar = 100000 * pascal
joule = newton * meter = J
watt = joule / second = W
watt_hour = 3600 * joule = Wh
liter = meter ** 3 / 1000 = L = l = litre
inch = 0.0254 * meter = in
foot = 0.3048 * meter = ft
yard = 0.9144 * meter = yd
mile = 1609.344 * meter = mi
thou = 0.0000254 * meter
pound = 453.59237 * gram = lb
ounce = 28.349523125 * gram = oz
slug = 14593.902937206364 * gram
standard_gravity = 9.80665 * meter / second ** 2 = g0
kilogram_force = 9.80665 * newton = kgf
pound_force = 4.4482216152605 * newton = lbf
kip = 4448.2216152605 * newton
psi = 6894.757293168361 * pascal
ksi = 6894757.293168361 * pascal
atmosphere = 101325 * pascal = atm
calorie = 4.184 * joule = cal
horsepower = 745.6998715822702 * watt = hp
knot = 0.5144444444444445 * meter / second = kn
percent = 0.01 = pct
"""
_NUMBER = re.compile(
    r"\s*(?P<number>[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?)(?:\s*/\s*(?P<below>\d{1,6}))?\s*(?P<unit>\D.*)?\Z",
    re.ASCII,
)
_FACTOR = re.compile(
    r"\s*(?P<sign>[*/·⋅\u00d7])?\s*(?P<name>[^\W\d_]+(?:_[^\W\d_]+)*0?)(?:(?:\s*(?:\^|\*\*)\s*)?(?P<power>-?[1-4]))?\s*"
)
_SPELLINGS = {
    '"': "inch",
    "″": "inch",
    "°C": "degC",
    "℃": "degC",
    "°F": "degF",
    "°K": "K",
    "°": "deg",
    "²": "^2",
    "³": "^3",
    "⁴": "^4",
    "⁻¹": "^-1",
    "⁻²": "^-2",
    "%": "percent",
    "(": " ",
    ")": " ",
}
_DIMENSIONS = {
    "[length]": "a length",
    "[mass]": "a mass",
    "[time]": "a time",
    "[temperature]": "a temperature",
    "[angle]": "an angle",
}


class QuantityError(ValueError):
    """A text that is no quantity of the expected kind.

    `code` is not_a_quantity, unknown_unit, unit_mismatch or not_finite.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@cache
def registry() -> "pint.UnitRegistry[float]":
    """The one registry of this process, made on first use.

    Importing pint takes half a second, which most commands never need.
    """
    module = importlib.import_module("pint")
    made = module.UnitRegistry(None, on_redefinition="ignore")
    made.load_definitions(DEFINITIONS.strip().splitlines())
    return made  # type: ignore[no-any-return]  # the module is imported by name


def unit_of(type_name: str, system: UnitSystem = UnitSystem.SI) -> str | None:
    """The unit of a physical type's numbers; None for other types."""
    entry = UNITS.get(type_name)
    return entry and entry[0 if system is UnitSystem.SI else 1]


def to_number(text: str, type_name: str, system: UnitSystem = UnitSystem.SI) -> float:
    """The number behind a text for a physical type, in the unit of `system`. A bare number is already in it.

    Raises
    ------
    QuantityError
        With a sentence that names what was found, what is expected, and an example.
    """
    example = UNITS[type_name][2]
    match = _NUMBER.match(text) if len(text) <= MAX_TEXT else None
    if match is None or (match["below"] and float(match["below"]) == 0):
        shown = text if len(text) <= MAX_TEXT else text[:40] + ".."
        raise QuantityError(
            "not_a_quantity", f'{shown!r} is no quantity; write a number and a unit such as "{example}".'
        )
    number = float(match["number"]) / float(match["below"] or 1)
    if match["unit"]:
        number = _convert(number, match["unit"], text, type_name, system)
    if not math.isfinite(number):
        raise QuantityError("not_finite", f"{text!r} is not finite.")
    return number


def convert(text: str, type_name: str, path: str, system: UnitSystem = UnitSystem.SI) -> float:
    """As to_number, with the error of an input at `path`."""
    try:
        return to_number(text, type_name, system)
    except QuantityError as error:
        raise InvalidInputError(error.code, str(error), problems=[Problem(path, error.code, str(error))]) from error


def _convert(number: float, unit_text: str, text: str, type_name: str, system: UnitSystem) -> float:
    powers = _powers(unit_text, text, type_name)
    target = registry().Unit(_target(UNITS[type_name][0 if system is UnitSystem.SI else 1]))
    offset = [
        name
        for name in powers
        if name.endswith(("celsius", "degC", "fahrenheit", "degF", "degree_Celsius", "degree_Fahrenheit"))
    ]
    if offset and powers != {offset[0]: 1}:
        raise QuantityError("unit_mismatch", f"{text!r}: {offset[0]} cannot stand in a product; write K.")
    unit = registry().Unit("")
    for name, power in powers.items():
        unit = unit * registry().Unit(name) ** power
    if type_name == "Frequency" and unit.dimensionality == {"[angle]": 1, "[time]": -1}:
        unit = unit / registry().Unit("turn")
    if unit.dimensionality != target.dimensionality:
        found = describe_dimension(unit.dimensionality)
        message = f'{text!r} is {found}; {type_name} expects {_article(type_name)} such as "{UNITS[type_name][2]}".'
        raise QuantityError("unit_mismatch", message)
    value = float(registry().Quantity(number, unit).to(target).magnitude)
    if offset and value < 0:
        raise QuantityError("unit_mismatch", f"{text!r} lies below absolute zero.")
    return value


def _target(unit: str) -> str:
    return unit.replace("^", "**")


def _powers(unit_text: str, text: str, type_name: str) -> dict[str, int]:
    """`kN/mm2` -> {kN: 1, mm: -2}. A solidus divides by the one factor after it."""
    for spelling, plain in _SPELLINGS.items():
        unit_text = unit_text.replace(spelling, plain)
    powers: dict[str, int] = {}
    position = 0
    while position < len(unit_text):
        match = _FACTOR.match(unit_text, position)
        if match is None or match.end() == position or len(powers) > 6:
            raise QuantityError(
                "not_a_quantity", f'{text!r} is no quantity; write a number and a unit such as "{UNITS[type_name][2]}".'
            )
        name = match["name"]
        if name not in registry():
            raise QuantityError(
                "unknown_unit",
                f'{text!r}: {name!r} is no unit known here; {type_name} expects for example "{UNITS[type_name][2]}".',
            )
        power = int(match["power"] or 1)
        powers[name] = powers.get(name, 0) + (-power if match["sign"] == "/" else power)
        position = match.end()
    return powers


def describe_dimension(dimensionality: Mapping[str, Any]) -> str:
    """A dimension in words: "a mass", "a force", or its formula."""
    if not dimensionality:
        return "a pure number"
    if len(dimensionality) == 1 and (name := next(iter(dimensionality))) in _DIMENSIONS and dimensionality[name] == 1:
        return _DIMENSIONS[name]
    for type_name, (unit, _, _) in UNITS.items():
        if registry().Unit(_target(unit)).dimensionality == dimensionality:
            return _article(type_name)
    return " ".join(f"{name}^{power:g}" for name, power in sorted(dimensionality.items()))


def _article(type_name: str) -> str:
    return f"{'an' if type_name[0] in 'AE' else 'a'} {type_name.lower()}"
