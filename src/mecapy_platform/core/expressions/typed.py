"""A part of an expression whose kind is known, ready to be computed; and how several of them come to one kind."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mecapy_platform.core.expressions.errors import ExpressionError
from mecapy_platform.core.expressions.kinds import Kind, NumberKind, TextKind, common, said, without_angle
from mecapy_platform.core.expressions.quantities import quantity_in_text
from mecapy_platform.core.expressions.tokens import LARGEST_INTEGER
from mecapy_platform.core.expressions.values import Scope

Run = Callable[[Scope], Any]


@dataclass(frozen=True)
class Typed:
    """`constant`: its exact value where it is a number as written; `text`: the text where it is one as written."""

    kind: Kind
    run: Run
    position: int
    constant: Fraction | None = None
    text: str | None = None


def always(value: Any) -> Run:
    return lambda _: value


def unified(parts: Sequence[Typed], what: str) -> tuple[Kind, list[Typed]]:
    """One kind for all of them, and the parts with texts beside numbers read as quantities.

    Raises
    ------
    ExpressionError
        "unit_mismatch" naming both units, or "expression_wrong_type"; `what` says what cannot be done.
    """
    if any(isinstance(part.kind, NumberKind) for part in parts):
        parts = [as_quantity(part) for part in parts]
    kind = parts[0].kind
    for part in parts[1:]:
        found = common(kind, part.kind)
        if found is None:
            raise _mismatch(kind, part, what)
        kind = found
    return kind, list(parts)


def _mismatch(kind: Kind, part: Typed, what: str) -> ExpressionError:
    are_numbers = isinstance(kind, NumberKind) and isinstance(part.kind, NumberKind)
    first, second = said(kind), said(part.kind)
    hint = ""
    if are_numbers and "number" in first + second:
        hint = " Give the number a unit, as in 3[mm], or divide the quantity by one."
    elif are_numbers and _differ_by_angle(kind, part.kind):
        hint = " A speed of rotation is a frequency times 2 * pi * 1[rad]."
    code = "unit_mismatch" if are_numbers else "expression_wrong_type"
    return ExpressionError(code, f"{first} and {second} cannot be {what}.{hint}", part.position)


def _differ_by_angle(first: Kind, second: Kind) -> bool:
    assert isinstance(first, NumberKind)
    assert isinstance(second, NumberKind)
    both = first.dimension is not None and second.dimension is not None
    return both and without_angle(first.dimension or ()) == without_angle(second.dimension or ())


def as_quantity(part: Typed) -> Typed:
    """A text as written becomes the quantity that it says; everything else stays as it is."""
    if not isinstance(part.kind, TextKind) or part.text is None:
        return part
    value, dimension = quantity_in_text(part.text, part.position)
    return Typed(NumberKind(dimension), always(value), part.position)


def guarded(position: int, compute: Callable[..., Any], *values: Any) -> Any:
    """One step of arithmetic; what Python would raise becomes an error with a code and a place."""
    try:
        found = compute(*values)
    except ZeroDivisionError:
        raise ExpressionError("expression_division_by_zero", "this divides by zero.", position) from None
    except OverflowError:
        raise too_large(position) from None
    except (ValueError, TypeError, ArithmeticError) as error:
        message = f"this cannot be computed for its value ({str(error)[:80]})."
        raise ExpressionError("expression_domain", message, position) from None
    if isinstance(found, float) and not math.isfinite(found):
        raise too_large(position)
    if isinstance(found, int) and abs(found) > LARGEST_INTEGER:
        raise too_large(position)
    return found


def too_large(position: int) -> ExpressionError:
    return ExpressionError("expression_overflow", "the result of this is too large.", position)
