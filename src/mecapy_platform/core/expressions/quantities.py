"""Numbers with units as they stand in expressions: `210[MPa]`, or a text beside a quantity, `stress < "210 MPa"`."""

import math
from fractions import Fraction

from mecapy_platform.core.expressions.errors import ExpressionError
from mecapy_platform.core.expressions.tree import Dimension
from mecapy_platform.core.units import QuantityError, read_number, read_unit
from mecapy_platform.core.units.reader import with_carets

MAX_TEXT = 80


def quantity_of(number: Fraction, unit_text: str, position: int) -> tuple[float, Dimension]:
    """The number in SI and its dimension. A point on a temperature scale becomes kelvin."""
    try:
        unit = read_unit(unit_text.strip())
    except QuantityError as error:
        raise ExpressionError(error.code, f"[{unit_text}]: {error}", position) from error
    value = number * unit.factor + unit.offset
    if unit.offset and value < 0:
        raise ExpressionError("unit_mismatch", f"{float(number):g} {unit_text} lies below absolute zero.", position)
    return _finite(value, position), unit.dimension


def quantity_in_text(text: str, position: int) -> tuple[float, Dimension]:
    """A text such as "210 MPa", as it may be written where a quantity is expected."""
    try:
        read = read_number(with_carets(text)) if len(text) <= MAX_TEXT else None
    except QuantityError as error:
        raise ExpressionError(error.code, str(error), position) from error
    if read is None:
        shown = text if len(text) <= MAX_TEXT else text[:40] + ".."
        message = f"{shown!r} is no quantity; write 210[MPa]."
        raise ExpressionError("not_a_quantity", message, position)
    number, unit = read
    if unit.strip():
        return quantity_of(number, unit, position)
    return _finite(number, position), read_unit("m/m").dimension


def _finite(number: Fraction, position: int) -> float:
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ExpressionError("expression_overflow", "this number is too large.", position)
    return found
