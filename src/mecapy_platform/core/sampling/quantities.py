"""Numbers of a factor as they are written ("10 mm", 10, "20 degC") in one unit."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mecapy_platform.core.sampling.problems import Problems, is_number
from mecapy_platform.core.units import QuantityError, Unit, read_number, read_unit
from mecapy_platform.core.units.quantities import MAX_TEXT
from mecapy_platform.core.units.reader import is_scale, with_carets

_RANGE = re.compile(r"\s*(?:\.\.|…)\s*")


@dataclass(frozen=True)
class Quantity:
    """A number and the text of its unit, None where it carries none."""

    number: Fraction
    unit: str | None


def read_quantity(value: Any) -> Quantity:
    """Raises QuantityError."""
    if is_number(value):
        return Quantity(Fraction(value), None)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise QuantityError("wrong_type", "This must be a number, or a text with a number and a unit such as '12 mm'.")
    read = read_number(with_carets(value))
    if read is None:
        raise QuantityError("not_a_quantity", f"{value!r} is no quantity; write a number and a unit such as '12 mm'.")
    unit = read[1].strip()
    if unit:
        read_unit(unit)
    return Quantity(read[0], unit or None)


def split_range(text: str) -> tuple[str, str] | None:
    """The ends of "10 mm .. 20 mm" or "10 .. 20 mm"; None for another text."""
    if len(text) > 2 * MAX_TEXT + 10:
        return None
    parts = _RANGE.split(text.strip())
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else None


class UnitOfFactor:
    """Reads the numbers of one factor. The first text with a unit decides in which unit they are kept."""

    def __init__(self, problems: Problems, path: str) -> None:
        self._problems = problems
        self._path = path
        self.unit: str | None = None

    def declare(self, unit: Any) -> None:
        if unit is None:
            return
        if not isinstance(unit, str) or len(unit) > MAX_TEXT:
            self._problems.add(f"{self._path}.unit", "wrong_type", "A unit is a text such as 'mm'.")
            return
        try:
            read_unit(unit)
            self.unit = unit
        except QuantityError as error:
            self._problems.add(f"{self._path}.unit", error.code, str(error))

    def look(self, values: list[Any]) -> None:
        """Takes the unit of the first value that carries one, unless a unit was declared."""
        for value in values:
            if self.unit is None and isinstance(value, str):
                try:
                    self.unit = read_quantity(value).unit
                except QuantityError:
                    continue  # said where it is read

    def number(self, value: Any, path: str, *, spread: bool = False) -> float | None:
        """The value in the factor's unit; None after a problem. `spread`: a difference, as a standard deviation is."""
        try:
            quantity = read_quantity(value)
            return _in_unit(quantity, self.unit, spread=spread)
        except QuantityError as error:
            self._problems.add(path, error.code, str(error))
            return None


def _in_unit(quantity: Quantity, unit: str | None, *, spread: bool) -> float:
    number = quantity.number
    if quantity.unit is not None and unit is None:
        raise QuantityError("unit_mismatch", "Other numbers of this factor carry no unit; write it at each of them.")
    if quantity.unit is not None and quantity.unit != unit:
        number = _convert(quantity, str(unit), spread=spread)
    elif quantity.unit is not None and spread and is_scale(read_unit(quantity.unit)):
        raise QuantityError("unit_mismatch", "A difference of temperatures is written in K.")
    try:
        return float(number)
    except OverflowError:
        raise QuantityError("not_finite", "This number is too large.") from None


def _convert(quantity: Quantity, unit: str, *, spread: bool) -> Fraction:
    found, target = read_unit(str(quantity.unit)), read_unit(unit)
    if found.dimension != target.dimension:
        raise QuantityError("unit_mismatch", f"The unit {quantity.unit} cannot be converted to {unit} of this factor.")
    if spread:
        if is_scale(found):
            raise QuantityError("unit_mismatch", "A difference of temperatures is written in K.")
        return quantity.number * found.factor / target.factor
    return _from_si(quantity.number * found.factor + found.offset, target)


def _from_si(value: Fraction, target: Unit) -> Fraction:
    return (value - target.offset) / target.factor
