"""Which output may feed which input, with a reason that a person understands."""

from dataclasses import dataclass

from mecapy_platform.core.types.catalog import CATALOG, ancestors_of, is_number
from mecapy_platform.core.types.expressions import (
    DictType,
    FileType,
    ListType,
    LiteralType,
    LiteralValue,
    NamedType,
    StructType,
    TypeExpression,
    UnitType,
)
from mecapy_platform.core.types.parser import parse_type
from mecapy_platform.core.units import read_unit, unit_of

TORSOR = {"force": "Force3", "moment": "Moment3"}
TORSOR_SHORT = {"F": "force", "M": "moment"}
OBJECT = NamedType("Object")
ARRAY = NamedType("Array")


@dataclass(frozen=True)
class Connection:
    """The verdict on one edge; `source` and `target` are normalised texts."""

    allowed: bool
    reason: str
    source: str
    target: str


def check_connection(source: object, target: object) -> Connection:
    """Judge an edge from `source` to `target`. Raises InvalidInputError for a type that cannot be parsed."""
    one, other = parse_type(source, "source"), parse_type(target, "target")
    allowed, reason = compare(one, other)
    return Connection(allowed, reason, str(one), str(other))


def compare(source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    """The rules of check_connection, on parsed types."""
    if source == target:
        return True, f"{source} feeds {target}: the same type."
    if OBJECT in {source, target}:
        return _object(source, target)
    if isinstance(source, LiteralType) or isinstance(target, LiteralType):
        return _literal(source, target)
    if isinstance(source, UnitType) or isinstance(target, UnitType):
        return _with_unit(source, target)
    if ARRAY in {source, target}:
        return _array(source, target)
    return _alike(_torsor_as_struct(source, target), _torsor_as_struct(target, source))


def _alike(source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    """Both must be of one shape: names, files, lists, dicts or structs."""
    if isinstance(source, NamedType) and isinstance(target, NamedType):
        return _named(source.name, target.name)
    if isinstance(source, FileType) and isinstance(target, FileType):
        return _files(source, target)
    if isinstance(source, ListType) and isinstance(target, ListType):
        return _inside("Elements", source.element, target.element)
    if isinstance(source, DictType) and isinstance(target, DictType):
        return _inside("Values", source.value, target.value)
    if isinstance(source, StructType) and isinstance(target, StructType):
        return _structs(source, target)
    return False, f"{source} is {_what(source)}, {target} is {_what(target)}."


def _array(source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    """An array may have any shape, so it goes with all that holds nothing but numbers."""
    other = target if source == ARRAY else source
    inner = other
    while isinstance(inner, ListType):
        inner = inner.element
    if isinstance(inner, NamedType) and (is_number(inner.name) or CATALOG[inner.name].kind in {"vector", "matrix"}):
        return True, f"{other} holds numbers, as an Array does."
    return False, f"{other} is {_what(other)}, an Array holds numbers alone."


def _with_unit(source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    """`Float[N/m]` lies under Float; beside another unit or a physical type the dimensions must be equal."""
    units = [_unit(kind) for kind in (source, target)]
    if units[0] and units[1]:
        if read_unit(units[0]).dimension == read_unit(units[1]).dimension:
            return True, f"{source} and {target} have the same dimension."
        return False, f"{source} and {target} have different dimensions."
    if not all(isinstance(kind, NamedType | UnitType) for kind in (source, target)):
        return False, f"{source} is {_what(source)}, {target} is {_what(target)}."
    bare = ["Float" if isinstance(kind, UnitType) else str(kind) for kind in (source, target)]
    if bare == ["Float", "Float"]:
        return True, f"{source} feeds {target}: both are Float."
    allowed, reason = _named(*bare)
    return allowed, reason if allowed else f"{source} feeds no {target}: {reason}"


def _unit(kind: TypeExpression) -> str | None:
    if isinstance(kind, UnitType):
        return kind.unit
    return unit_of(kind.name) if isinstance(kind, NamedType) else None


def _what(kind: TypeExpression) -> str:
    if isinstance(kind, NamedType):
        return f"a {CATALOG[kind.name].kind}"
    words = {
        UnitType: "a scalar",
        FileType: "a file",
        ListType: "a list",
        DictType: "a dict",
        StructType: "a struct",
        LiteralType: "a choice",
    }
    return words[type(kind)]


def _object(source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    if target != OBJECT:
        return False, f"Object may hold anything, so it cannot feed {target}."
    if isinstance(source, FileType):
        return False, "A file is no JSON, so it cannot feed Object."
    return True, f"Object takes any JSON, {source} too."


def _named(source: str, target: str) -> tuple[bool, str]:
    up, down = ancestors_of(source), ancestors_of(target)
    if target in up:
        return True, f"{source} is a kind of {target}."
    if source in down:
        return True, f"{target} is a kind of {source}."
    if {source, target} == {"Integer", "Float"}:
        return True, "Integer and Float are both numbers under Numeric."
    if up and down and up[0] == down[0]:
        return False, f"{source} and {target} are siblings under {up[0]}."
    common = next((name for name in up if name in down), None)
    if common:
        return False, f"{source} and {target} are different kinds of {common}."
    return False, f"{source} and {target} have nothing in common."


def _literal(source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    if isinstance(source, LiteralType) and isinstance(target, LiteralType):
        shared = [value for value in source.values if value in target.values]
        if shared:
            return True, f"{source} and {target} share {', '.join(str(value) for value in shared)}."
        return False, f"{source} and {target} share no value."
    choice, other = (source, target) if isinstance(source, LiteralType) else (target, source)
    assert isinstance(choice, LiteralType)
    bases = {_base(value) for value in choice.values}
    if len(bases) > 1 and not bases <= {"Integer", "Float"}:
        return False, f"{choice} mixes text and numbers, so only the same choice can stand beside it."
    base = "Float" if "Float" in bases else next(iter(bases))
    other = NamedType("Float") if isinstance(other, UnitType) else other
    if not isinstance(other, NamedType):
        return False, f"{choice} is a choice of {base} values, {other} is {_what(other)}."
    allowed, reason = (
        (True, f"{choice} is a choice of {base} values.") if base == other.name else _named(base, other.name)
    )
    return allowed, reason if base == other.name else f"{choice} is a choice of {base} values: {reason}"


def _base(value: LiteralValue) -> str:
    if isinstance(value, bool):
        return "Boolean"
    return "String" if isinstance(value, str) else "Integer" if isinstance(value, int) else "Float"


def _files(source: FileType, target: FileType) -> tuple[bool, str]:
    if not source.extensions or not target.extensions:
        return True, f"{source} feeds {target}: one of them takes any extension."
    shared = [name for name in source.extensions if name in target.extensions]
    if shared:
        return True, f"{source} and {target} share {', '.join('.' + name for name in shared)}."
    return False, f"{source} and {target} share no extension."


def _inside(what: str, source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    allowed, reason = compare(source, target)
    return allowed, f"{what}: {reason}"


def _torsor_as_struct(kind: TypeExpression, beside: TypeExpression) -> TypeExpression:
    """A Torsor beside an inline struct is read as a struct, with the field names that the struct uses."""
    if kind != NamedType("Torsor") or not isinstance(beside, StructType):
        return kind
    is_short = {name for name, _ in beside.fields} <= set(TORSOR_SHORT)
    names = TORSOR_SHORT if is_short else {name: name for name in TORSOR}
    return StructType(tuple((name, NamedType(TORSOR[long])) for name, long in names.items()))


def _structs(source: StructType, target: StructType) -> tuple[bool, str]:
    one, other = dict(source.fields), dict(target.fields)
    alone = sorted((one.keys() ^ other.keys()) - (target.optional - one.keys()))
    if alone:
        return False, f"The structs differ in their fields: {', '.join(alone)}."
    if unsure := sorted(source.optional - target.optional):
        return False, f"{source} may lack {', '.join(unsure)}, which {target} needs."
    for name, kind in one.items():
        allowed, reason = compare(kind, other[name])
        if not allowed:
            return False, f"Field {name}: {reason}"
    return True, "The structs have the same fields, each compatible."
