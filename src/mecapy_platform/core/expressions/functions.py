"""The functions that an expression may call: what each takes, what it gives, how it is computed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mecapy_platform.core.expressions.kinds import (
    ANGLE_DIMENSION,
    BOOLEAN,
    INTEGER,
    PURE_FLOAT,
    PURE_NUMBER,
    BooleanKind,
    Kind,
    ListKind,
    MappingKind,
    NumberKind,
    TextKind,
    are_alike,
)

Rule = Callable[[Sequence[Kind]], "Kind | str"]


@dataclass(frozen=True)
class Function:
    """`rule` gives the kind of the result, or the end of a sentence that says what it takes.

    `are_alike`: arguments must be quantities of one dimension; a text among them is read as a quantity.
    `reads_list`: its work grows with its list.
    """

    least: int
    most: int
    rule: Rule
    compute: Callable[..., Any]
    are_alike: bool = False
    reads_list: bool = False


def _pure(kinds: Sequence[Kind]) -> Kind | str:
    fits = all(isinstance(kind, NumberKind) and are_alike(kind.dimension, PURE_NUMBER) for kind in kinds)
    return PURE_FLOAT if fits else "takes pure numbers; divide by a reference quantity first"


def _angle_from_pure(kinds: Sequence[Kind]) -> Kind | str:
    found = _pure(kinds)
    return found if isinstance(found, str) else NumberKind(ANGLE_DIMENSION)


def _angle_from_alike(kinds: Sequence[Kind]) -> Kind | str:
    return NumberKind(ANGLE_DIMENSION) if isinstance(kinds[0], NumberKind) else "takes two quantities of one dimension"


def _root(kinds: Sequence[Kind]) -> Kind | str:
    kind = kinds[0]
    if not isinstance(kind, NumberKind):
        return "takes a number"
    dimension = kind.dimension and tuple(Fraction(power, 2) for power in kind.dimension)
    if dimension and any(power.denominator > 12 for power in dimension):
        return "gives no quantity here"
    return NumberKind(dimension)


def _same(kinds: Sequence[Kind]) -> Kind | str:
    return kinds[0] if isinstance(kinds[0], NumberKind) else "takes a number"


def _rounded(kinds: Sequence[Kind]) -> Kind | str:
    kind = kinds[0]
    if not isinstance(kind, NumberKind) or not are_alike(kind.dimension, PURE_NUMBER):
        return "takes a pure number: write round(x / 1[mm]) * 1[mm]"
    if len(kinds) == 2:
        places = kinds[1]
        return PURE_FLOAT if isinstance(places, NumberKind) and places.is_integer else "takes a whole number of places"
    return INTEGER


def _largest(kinds: Sequence[Kind]) -> Kind | str:
    kind = kinds[0]
    if isinstance(kind, ListKind) and len(kinds) == 1:
        kind = kind.element
    elif len(kinds) == 1:
        return "takes a list, or several quantities of one dimension"
    if not isinstance(kind, NumberKind):
        return "takes numbers"
    is_integer = all(not isinstance(each, NumberKind) or each.is_integer for each in kinds)
    return NumberKind(kind.dimension, is_integer=kind.is_integer and is_integer)


def _sum(kinds: Sequence[Kind]) -> Kind | str:
    kind = kinds[0]
    if isinstance(kind, ListKind) and isinstance(kind.element, NumberKind):
        return kind.element
    return "takes a list of numbers"


def _mean(kinds: Sequence[Kind]) -> Kind | str:
    found = _sum(kinds)
    return NumberKind(found.dimension) if isinstance(found, NumberKind) else found


def _truths(kinds: Sequence[Kind]) -> Kind | str:
    kind = kinds[0]
    is_list = isinstance(kind, ListKind) and isinstance(kind.element, BooleanKind)
    return BOOLEAN if is_list else "takes a list of true and false"


def _length(kinds: Sequence[Kind]) -> Kind | str:
    return INTEGER if isinstance(kinds[0], ListKind | TextKind | MappingKind) else "takes a list, a text or an object"


def _close(kinds: Sequence[Kind]) -> Kind | str:
    if not isinstance(kinds[0], NumberKind):
        return "takes two quantities of one dimension, and a relative tolerance"
    found = _pure(kinds[2:])
    return found if isinstance(found, str) else BOOLEAN


def _smallest_of(*values: Any) -> Any:
    return min(values[0]) if len(values) == 1 else min(values)


def _largest_of(*values: Any) -> Any:
    return max(values[0]) if len(values) == 1 else max(values)


def _sum_of(values: list[Any]) -> Any:
    return sum(values) if all(isinstance(value, int) for value in values) else math.fsum(values)


def _mean_of(values: list[Any]) -> float:
    return math.fsum(values) / len(values) if values else _empty()


def _empty() -> float:
    message = "the list is empty"
    raise ValueError(message)


def _round(value: float, places: int = 0) -> float:
    return round(float(value), max(-400, min(400, places)))


def _is_close(first: float, second: float, tolerance: float = 1e-9) -> bool:
    return math.isclose(first, second, rel_tol=tolerance)


def _whole(how: Callable[[float], int]) -> Callable[[float], int]:
    return lambda value: value if isinstance(value, int) else how(value)


def _rounding(value: float, *places: int) -> float:
    return _round(value, *places) if places else _whole(round)(value)


FUNCTIONS: dict[str, Function] = {
    "min": Function(1, 500, _largest, _smallest_of, are_alike=True, reads_list=True),
    "max": Function(1, 500, _largest, _largest_of, are_alike=True, reads_list=True),
    "abs": Function(1, 1, _same, abs),
    "sqrt": Function(1, 1, _root, math.sqrt),
    "exp": Function(1, 1, _pure, math.exp),
    "log": Function(1, 1, _pure, math.log),
    "log10": Function(1, 1, _pure, math.log10),
    "sin": Function(1, 1, _pure, math.sin),
    "cos": Function(1, 1, _pure, math.cos),
    "tan": Function(1, 1, _pure, math.tan),
    "asin": Function(1, 1, _angle_from_pure, math.asin),
    "acos": Function(1, 1, _angle_from_pure, math.acos),
    "atan": Function(1, 1, _angle_from_pure, math.atan),
    "atan2": Function(2, 2, _angle_from_alike, math.atan2, are_alike=True),
    "round": Function(1, 2, _rounded, _rounding),
    "floor": Function(1, 1, _rounded, _whole(math.floor)),
    "ceil": Function(1, 1, _rounded, _whole(math.ceil)),
    "sum": Function(1, 1, _sum, _sum_of, reads_list=True),
    "mean": Function(1, 1, _mean, _mean_of, reads_list=True),
    "len": Function(1, 1, _length, len),
    "any": Function(1, 1, _truths, any, reads_list=True),
    "all": Function(1, 1, _truths, all, reads_list=True),
    "isclose": Function(2, 3, _close, _is_close, are_alike=True),
}
