"""The parts of a parsed expression. Immutable; `position` is where the part begins in the text, from 0."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

Dimension = tuple[Fraction, ...]


@dataclass(frozen=True)
class Part:
    """`height`: levels below and with this part."""

    position: int
    height: int = field(init=False, default=1, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "height", 1 + max([child.height for child in self.children], default=0))

    @property
    def children(self) -> "tuple[Part, ...]":
        return ()


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

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class ChainPart(Part):
    """Operands of one precedence from left to right: sums, products, comparisons, `and`, `or`."""

    first: Part
    rest: tuple[tuple[str, Part], ...]

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.first, *[operand for _, operand in self.rest])


@dataclass(frozen=True)
class PowerPart(Part):
    base: Part
    exponent: Part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.base, self.exponent)


@dataclass(frozen=True)
class ConditionalPart(Part):
    """`then if test else other`."""

    test: Part
    then: Part
    other: Part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.test, self.then, self.other)


@dataclass(frozen=True)
class CallPart(Part):
    function: str
    arguments: tuple[Part, ...]

    @property
    def children(self) -> tuple[Part, ...]:
        return self.arguments


@dataclass(frozen=True)
class ListPart(Part):
    items: tuple[Part, ...]

    @property
    def children(self) -> tuple[Part, ...]:
        return self.items


@dataclass(frozen=True)
class IndexPart(Part):
    whole: Part
    index: Part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.whole, self.index)


@dataclass(frozen=True)
class FieldPart(Part):
    whole: Part
    field: str

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.whole,)


def names_of(part: Part) -> Iterator[NamePart]:
    """Every name that is read."""
    if isinstance(part, NamePart):
        yield part
    for child in part.children:
        yield from names_of(child)


@dataclass(frozen=True)
class Expression:
    """A text that was understood. `names`: what it reads, each once; `pi` too, which a port may also be called."""

    text: str
    root: Part
    names: tuple[str, ...]
