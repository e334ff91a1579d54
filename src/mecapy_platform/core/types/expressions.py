"""A parsed type. `str()` gives its normalised text, which parses to the same type again."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

LiteralValue = str | int | float | bool
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.+-]*\Z")
_WORDS_OF_JSON = {"true", "false", "null", "nan", "inf", "infinity"}


@dataclass(frozen=True)
class NamedType:
    """A name of the catalog, `File` apart."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class UnitType:
    """`Float[N/m]`: a number that carries a unit which no named type has. Its numbers are in that very unit."""

    unit: str

    def __str__(self) -> str:
        return f"Float[{self.unit}]"


@dataclass(frozen=True)
class FileType:
    """A file; no extensions means any."""

    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"File[{','.join(self.extensions)}]" if self.extensions else "File"


@dataclass(frozen=True)
class ListType:
    element: "TypeExpression"

    def __str__(self) -> str:
        return f"list[{self.element}]"


@dataclass(frozen=True)
class DictType:
    value: "TypeExpression"

    def __str__(self) -> str:
        return f"dict[str, {self.value}]"


@dataclass(frozen=True)
class LiteralType:
    values: tuple[LiteralValue, ...]

    def __str__(self) -> str:
        return f"literal[{', '.join(literal_text(value) for value in self.values)}]"


@dataclass(frozen=True)
class StructType:
    """Fields in their order; those that are `optional` may be left out, as the text shows by `name?: Type`."""

    fields: tuple[tuple[str, "TypeExpression"], ...]
    optional: frozenset[str] = frozenset()

    def __str__(self) -> str:
        marked = ((f"{name}?" if name in self.optional else name, kind) for name, kind in self.fields)
        return "{" + ", ".join(f"{name}: {kind}" for name, kind in marked) + "}"


TypeExpression = NamedType | UnitType | FileType | ListType | DictType | LiteralType | StructType


def literal_text(value: LiteralValue) -> str:
    if isinstance(value, str) and (not _BARE.match(value) or value.lower() in _WORDS_OF_JSON):
        return json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


def parts_of(kind: TypeExpression) -> Iterator[TypeExpression]:
    """The type itself and every type inside it."""
    yield kind
    if isinstance(kind, ListType):
        yield from parts_of(kind.element)
    elif isinstance(kind, DictType):
        yield from parts_of(kind.value)
    elif isinstance(kind, StructType):
        for _, field in kind.fields:
            yield from parts_of(field)


def without_units(kind: TypeExpression) -> TypeExpression:
    """The same type with `Float` for every `Float[unit]`, as the published platform knows it."""
    if isinstance(kind, UnitType):
        return NamedType("Float")
    if isinstance(kind, ListType):
        return ListType(without_units(kind.element))
    if isinstance(kind, DictType):
        return DictType(without_units(kind.value))
    if isinstance(kind, StructType):
        return StructType(tuple((name, without_units(field)) for name, field in kind.fields), kind.optional)
    return kind


def contains_file(kind: TypeExpression) -> bool:
    return any(isinstance(part, FileType) for part in parts_of(kind))


def contains_object(kind: TypeExpression) -> bool:
    return NamedType("Object") in parts_of(kind)


def file_extensions(text: str) -> frozenset[str]:
    """The extensions that a normalised `File[..]` allows, lower case without dot.

    Empty for any, and for what is no file.
    """
    if not text.startswith("File["):
        return frozenset()
    return frozenset(part.strip().lower() for part in text[len("File[") :].rstrip("]").split(",") if part.strip())
