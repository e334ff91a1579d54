"""What a part of an expression is: a number with its dimension, a text, a truth value, a list, a mapping, a struct."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from mecapy_platform.core.expressions.tree import Dimension
from mecapy_platform.core.units import UNITS, Unit, describe_dimension, read_unit
from mecapy_platform.core.units.table import BASES, PURE

PURE_NUMBER: Dimension = PURE.dimension
ANGLE = BASES.index("angle")
ANGLE_DIMENSION = read_unit("rad").dimension
_PER_SECOND = read_unit("Hz").dimension
_SYMBOLS = dict(zip(BASES, ("m", "kg", "s", "K", "rad", "A", "mol"), strict=True))
MAX_EXPONENT = 12


@dataclass(frozen=True)
class NumberKind:
    """`dimension` None: a zero as written, which stands beside any quantity."""

    dimension: Dimension | None = PURE_NUMBER
    is_integer: bool = False


@dataclass(frozen=True)
class TextKind:
    pass


@dataclass(frozen=True)
class BooleanKind:
    pass


@dataclass(frozen=True)
class ListKind:
    element: "Kind"


@dataclass(frozen=True)
class MappingKind:
    """Any number of values of one kind, by text."""

    value: "Kind"


@dataclass(frozen=True)
class StructKind:
    fields: tuple[tuple[str, "Kind"], ...]


Kind = NumberKind | TextKind | BooleanKind | ListKind | MappingKind | StructKind
PURE_FLOAT = NumberKind()
INTEGER = NumberKind(is_integer=True)
TEXT = TextKind()
BOOLEAN = BooleanKind()


def without_angle(dimension: Dimension) -> Dimension:
    return (*dimension[:ANGLE], Fraction(0), *dimension[ANGLE + 1 :])


def are_alike(first: Dimension | None, second: Dimension | None) -> bool:
    """Whether two dimensions may stand beside each other.

    A radian is metre by metre, so it may be left out or added (an arc is radius times angle). Not beside 1/s: a
    frequency and a speed of rotation differ by 2 pi, and nothing would tell which was meant.
    """
    if first is None or second is None or first == second:
        return True
    return without_angle(first) == without_angle(second) != _PER_SECOND


def common(first: Kind, second: Kind) -> Kind | None:
    """The kind of a value that is either of the two; None where they cannot stand for each other."""
    if isinstance(first, NumberKind) and isinstance(second, NumberKind):
        if not are_alike(first.dimension, second.dimension):
            return None
        dimension = second.dimension if first.dimension is None else first.dimension
        return NumberKind(dimension, is_integer=first.is_integer and second.is_integer)
    if isinstance(first, ListKind) and isinstance(second, ListKind):
        element = common(first.element, second.element)
        return element and ListKind(element)
    return first if first == second else None


@lru_cache(maxsize=1024)
def unit_text(dimension: Dimension) -> str:
    """The SI unit of a dimension, by its own name where it has one: N, Pa, m^2*kg/s."""
    for text, _, _ in UNITS.values():
        if read_unit(text).dimension == dimension:
            return text
    powers = [(_SYMBOLS[base], power) for base, power in zip(BASES, dimension, strict=True) if power]
    above = "*".join(_raised(symbol, power) for symbol, power in powers if power > 0)
    below = "*".join(_raised(symbol, -power) for symbol, power in powers if power < 0)
    return f"{above or '1'}/{f'({below})' if '*' in below else below}" if below else above or "1"


def _raised(symbol: str, power: Fraction) -> str:
    return symbol if power == 1 else f"{symbol}^{float(power):g}"


def said(kind: Kind) -> str:
    """A kind in a person's words, with its unit: "a length (m)"."""
    if isinstance(kind, NumberKind):
        if kind.dimension is None or kind.dimension == PURE_NUMBER:
            return "a whole number" if kind.is_integer and kind.dimension is not None else "a pure number"
        return f"{_named(kind.dimension)} ({unit_text(kind.dimension)})"
    if isinstance(kind, ListKind):
        inner = said(kind.element)
        return f"a list of which each is {inner}"
    words: dict[type, str] = {
        TextKind: "text",
        BooleanKind: "true or false",
        MappingKind: "an object",
        StructKind: "an object with fields",
    }
    return words[type(kind)]


def _named(dimension: Dimension) -> str:
    words = describe_dimension(Unit(Fraction(1), dimension))
    return "a quantity" if "^" in words else words
