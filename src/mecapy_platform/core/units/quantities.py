"""Quantities as people write them ("12 mm", "12,5 mm", "3/4 inch") become numbers in SI, or in a package's system.

Only a number followed by products of known units is read; nothing is ever evaluated. All arithmetic is exact up to the
last rounding, so "9 mm" is 0.009. Temperature: on a `Temperature` port "20 degC" and "68 degF" are points on a scale
and become 293.15 K; a difference is written in K. Angle counts as a dimension, so that "3000 tr/min" is 50 Hz (turns a
second) and "5 rad" is no pure number.
"""

import math
from fractions import Fraction

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.unit_systems import UNITS, UnitSystem
from mecapy_platform.core.units.errors import QuantityError
from mecapy_platform.core.units.numbers import read_number
from mecapy_platform.core.units.reader import is_scale, read_unit, with_carets
from mecapy_platform.core.units.table import BASES, PURE, Unit, spellings

MAX_TEXT = 80


_DIMENSIONS = {
    "length": "a length",
    "mass": "a mass",
    "time": "a time",
    "temperature": "a temperature",
    "angle": "an angle",
}


def to_number(text: str, type_name: str, system: UnitSystem = UnitSystem.SI) -> float:
    """The number behind a text for a physical type, in the unit of `system`. A bare number is already in it.

    Raises
    ------
    QuantityError
        With a sentence that names what was found, what is expected, and an example.
    """
    unit, example = UNITS[type_name][0 if system is UnitSystem.SI else 1], UNITS[type_name][2]
    return _Reading(text, type_name, unit, example).number()


def in_unit(text: str, unit: str) -> float:
    """As to_number, for a number that carries a unit without a type's name, such as the N/m of `Float[N/m]`."""
    return _Reading(text, f"Float[{unit}]", unit, f"5 {unit}").number()


def convert(text: str, type_name: str, path: str, system: UnitSystem = UnitSystem.SI) -> float:
    """As to_number, with the error of an input at `path`."""
    try:
        return to_number(text, type_name, system)
    except QuantityError as error:
        raise InvalidInputError(error.code, str(error), problems=[Problem(path, error.code, str(error))]) from error


class _Reading:
    """One text on its way to a number in `unit`; `kind` and `example` are for what is said of a wrong one."""

    def __init__(self, text: str, kind: str, unit: str, example: str) -> None:
        self._text = text
        self._kind = kind
        self._unit = unit
        self._example = example

    def number(self) -> float:
        read = read_number(with_carets(self._text)) if len(self._text) <= MAX_TEXT else None
        if read is None:
            raise self._no_quantity()
        number, unit_text = read
        if unit_text.strip():
            number = self._converted(number, unit_text.strip())
        try:
            found = float(number)
        except OverflowError:
            found = math.inf
        if not math.isfinite(found):
            raise QuantityError("not_finite", f"{self._text!r} is not finite.")
        return found

    def _converted(self, number: Fraction, unit_text: str) -> Fraction:
        unit, target = self._read_unit(unit_text), read_unit(self._unit)
        if self._kind == "Frequency" and unit.dimension == spellings()["rpm"].dimension:
            unit *= spellings()["turn"] ** Fraction(-1)
        if unit.dimension != target.dimension:
            raise self._mismatch(unit)
        value = (number * unit.factor + unit.offset) / target.factor
        if is_scale(unit) and value < 0:
            raise QuantityError("unit_mismatch", f"{self._text!r} lies below absolute zero.")
        return value

    def _read_unit(self, unit_text: str) -> Unit:
        try:
            return read_unit(unit_text)
        except QuantityError as error:
            if error.code == "not_a_quantity":
                raise self._no_quantity() from error
            said = f"{self._text!r}: {error}"
            if error.code == "unknown_unit":
                said += f' {self._kind} expects for example "{self._example}".'
            raise QuantityError(error.code, said) from error

    def _no_quantity(self) -> QuantityError:
        shown = self._text if len(self._text) <= MAX_TEXT else self._text[:40] + ".."
        return QuantityError(
            "not_a_quantity", f'{shown!r} is no quantity; write a number and a unit such as "{self._example}".'
        )

    def _mismatch(self, unit: Unit) -> QuantityError:
        expected = _article(self._kind) if self._kind in UNITS else "a quantity"
        found = describe_dimension(unit)
        message = f'{self._text!r} is {found}; {self._kind} expects {expected} such as "{self._example}".'
        return QuantityError("unit_mismatch", message)


def describe_dimension(unit: Unit) -> str:
    """A dimension in words: "a mass", "a force", or its formula."""
    if unit.dimension == PURE.dimension:
        return "a pure number"
    powers = {base: power for base, power in zip(BASES, unit.dimension, strict=True) if power}
    if len(powers) == 1 and (name := next(iter(powers))) in _DIMENSIONS and powers[name] == 1:
        return _DIMENSIONS[name]
    for type_name, (text, _, _) in UNITS.items():
        if read_unit(text).dimension == unit.dimension:
            return _article(type_name)
    return " ".join(f"{name}^{float(power):g}" for name, power in sorted(powers.items()))


def _article(type_name: str) -> str:
    return f"{'an' if type_name[0] in 'AE' else 'a'} {type_name.lower()}"
