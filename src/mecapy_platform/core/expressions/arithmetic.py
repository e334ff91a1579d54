"""Sums, products and powers: their dimensions, and how they are computed."""

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mecapy_platform.core.expressions.errors import ExpressionError
from mecapy_platform.core.expressions.kinds import (
    MAX_EXPONENT,
    PURE_NUMBER,
    Kind,
    NumberKind,
    are_alike,
    said,
    unit_text,
)
from mecapy_platform.core.expressions.tree import Dimension
from mecapy_platform.core.expressions.typed import Typed, as_quantity, guarded, unified
from mecapy_platform.core.expressions.values import Scope

_MOST_INTEGER_POWER = 64
_COMPUTE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}


def total(operands: list[Typed], operators: list[str]) -> Typed:
    """Operands added and subtracted, all of one dimension."""
    _refuse_others(operands, "added or subtracted")
    kind, operands = unified(operands, "added or subtracted")
    return Typed(kind, _folded(operands, operators), operands[0].position)


def product(operands: list[Typed], operators: list[str]) -> Typed:
    """Operands multiplied and divided; `%` needs two of one dimension."""
    _refuse_others(operands, "multiplied or divided")
    operands = [as_quantity(operand) for operand in operands]
    kind, constant = operands[0].kind, operands[0].constant
    for name, operand in zip(operators, operands[1:], strict=True):
        assert isinstance(kind, NumberKind)
        assert isinstance(operand.kind, NumberKind)
        if name == "%":
            kind, _ = unified([Typed(kind, operand.run, operand.position), operand], "divided with a remainder")
        else:
            kind = _multiplied(kind, operand.kind, name, operand.position)
        constant = operand.constant and constant / operand.constant if constant is not None and name == "/" else None
    return Typed(kind, _folded(operands, operators), operands[0].position, constant)


def _refuse_others(operands: list[Typed], what: str) -> None:
    for operand in operands:
        if not isinstance(operand.kind, NumberKind) and operand.text is None:
            message = f"{said(operand.kind)} cannot be {what}."
            raise ExpressionError("expression_wrong_type", message, operand.position)
    if all(operand.text is not None for operand in operands):
        message = f"texts cannot be {what}; write 5[mm] for a quantity."
        raise ExpressionError("expression_wrong_type", message, operands[0].position)


def _multiplied(first: NumberKind, second: NumberKind, name: str, position: int) -> NumberKind:
    sign = -1 if name == "/" else 1
    left, right = first.dimension or PURE_NUMBER, second.dimension or PURE_NUMBER
    dimension = left
    if right != PURE_NUMBER:
        dimension = _bounded(tuple(power + sign * added for power, added in zip(left, right, strict=True)), position)
    is_integer = name == "*" and first.is_integer and second.is_integer
    return NumberKind(dimension, is_integer=is_integer)


def _bounded(dimension: Dimension, position: int) -> Dimension:
    if any(abs(power) > MAX_EXPONENT or power.denominator > MAX_EXPONENT for power in dimension):
        message = f"this is no quantity any more; a unit is raised to at most {MAX_EXPONENT}."
        raise ExpressionError("unit_mismatch", message, position)
    return dimension


def _folded(operands: list[Typed], operators: list[str]) -> Callable[[Scope], Any]:
    first = operands[0].run
    steps = [
        (_COMPUTE[name], operand.run, operand.position) for name, operand in zip(operators, operands[1:], strict=True)
    ]

    def run(scope: Scope) -> Any:
        found = first(scope)
        for compute, operand, position in steps:
            found = guarded(position, compute, found, operand(scope))
        return found

    return run


def power(base: Typed, exponent: Typed, position: int) -> Typed:
    """A power. Of a quantity with a unit only by a number as written, since the unit depends on it."""
    base = as_quantity(base)
    first, second = base.kind, exponent.kind
    if not isinstance(first, NumberKind) or not isinstance(second, NumberKind):
        other = second if isinstance(first, NumberKind) else first
        raise ExpressionError("expression_wrong_type", f"{said(other)} has no place in a power.", position)
    if not are_alike(second.dimension, PURE_NUMBER):
        raise ExpressionError("unit_mismatch", f"an exponent is a pure number, not {said(second)}.", exponent.position)
    dimension = first.dimension or PURE_NUMBER
    if dimension == PURE_NUMBER:
        is_whole = first.is_integer and second.is_integer and exponent.constant is not None and exponent.constant >= 0
        kind: Kind = NumberKind(is_integer=is_whole)
    else:
        is_whole = False
        kind = NumberKind(_raised(dimension, exponent))
    compute = _whole_power if is_whole else _real_power

    def run(scope: Scope) -> Any:
        return guarded(position, compute, base.run(scope), exponent.run(scope))

    return Typed(kind, run, position, _constant_power(base.constant, exponent.constant))


def _constant_power(base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    """The exact value of a small power of whole numbers, which may be an exponent itself."""
    if base is None or exponent is None or base.denominator > 1 or exponent.denominator > 1:
        return None
    return base ** int(exponent) if 0 <= exponent <= MAX_EXPONENT and abs(base) <= MAX_EXPONENT else None


def _raised(dimension: Dimension, exponent: Typed) -> Dimension:
    if exponent.constant is None:
        message = (
            f"{unit_text(dimension)} can only be raised to a number as written, such as 2 or (1/3); "
            "divide by a reference quantity before."
        )
        raise ExpressionError("unit_mismatch", message, exponent.position)
    by = exponent.constant.limit_denominator(MAX_EXPONENT)
    if abs(by - exponent.constant) > Fraction(1, 10**12):
        by = Fraction(10**6)  # 0.3333 is no third: refused below
    return _bounded(tuple(power * by for power in dimension), exponent.position)


def _whole_power(base: int, exponent: int) -> int:
    if abs(base) > 1 and exponent > _MOST_INTEGER_POWER:
        raise OverflowError
    return int(base**exponent)


def _real_power(base: float, exponent: float) -> float:
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    if base < 0 and not float(exponent).is_integer():
        message = "a negative number to a broken power"
        raise ValueError(message)
    return math.pow(base, exponent)
