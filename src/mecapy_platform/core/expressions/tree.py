"""The parts of a parsed expression. Immutable; `position` is where the part begins in the text, from 0."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction

Dimension = tuple[Fraction, ...]


@dataclass(frozen=True)
class Part:
    """`height`: levels below and with this part."""

    position: int
    height: int = field(init=False, default=1, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "height", 1 + max((child.height for child in children(self)), default=0))


@dataclass(frozen=True)
class NumberPart(Part):
    """A number as written; `dimension` where a unit stands behind it, its value is then in SI."""

    value: int | float
    dimension: Dimension | None = None


@dataclass(frozen=True)
class TextPart(Part):
    value: str


@dataclass(frozen=True)
class BooleanPart(Part):
    value: bool


@dataclass(frozen=True)
class NamePart(Part):
    name: str
    is_quoted: bool = False


@dataclass(frozen=True)
class UnaryPart(Part):
    """`-`, `+` or `not` before an operand."""

    operator: str
    operand: Part


@dataclass(frozen=True)
class ChainPart(Part):
    """Operands of one precedence from left to right: sums, products, comparisons, `and`, `or`."""

    first: Part
    rest: tuple[tuple[str, Part], ...]


@dataclass(frozen=True)
class PowerPart(Part):
    base: Part
    exponent: Part


@dataclass(frozen=True)
class ConditionalPart(Part):
    """`then if test else other`."""

    test: Part
    then: Part
    other: Part


@dataclass(frozen=True)
class CallPart(Part):
    function: str
    arguments: tuple[Part, ...]


@dataclass(frozen=True)
class ListPart(Part):
    items: tuple[Part, ...]


@dataclass(frozen=True)
class IndexPart(Part):
    whole: Part
    index: Part


@dataclass(frozen=True)
class FieldPart(Part):
    whole: Part
    field: str


def children(part: Part) -> tuple[Part, ...]:
    """What a part is made of, in the order of its fields."""
    found: list[Part] = []
    for slot in fields(part):
        value = getattr(part, slot.name)
        if isinstance(value, Part):
            found.append(value)
        elif isinstance(value, tuple):
            found.extend(
                each
                for item in value
                for each in (item if isinstance(item, tuple) else (item,))
                if isinstance(each, Part)
            )
    return tuple(found)


def names_of(part: Part) -> Iterator[NamePart]:
    """Every name that is read."""
    if isinstance(part, NamePart):
        yield part
    for child in children(part):
        yield from names_of(child)


@dataclass(frozen=True)
class Expression:
    """A text that was understood. `names`: what it reads, each once; `pi` too, which a port may also be called."""

    text: str
    root: Part
    names: tuple[str, ...]
