"""Values of ports on their way into an expression (to SI) and out of it (to the unit of the type that is wanted)."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mecapy_platform.core.expressions.errors import ExpressionError
from mecapy_platform.core.expressions.kinds import (
    BOOLEAN,
    INTEGER,
    PURE_FLOAT,
    TEXT,
    BooleanKind,
    Kind,
    ListKind,
    MappingKind,
    NumberKind,
    StructKind,
    are_alike,
    said,
    unit_text,
)
from mecapy_platform.core.expressions.tokens import LARGEST_INTEGER
from mecapy_platform.core.types import (
    CATALOG,
    DictType,
    ListType,
    LiteralType,
    NamedType,
    StructType,
    TypeExpression,
    UnitType,
    is_number,
)
from mecapy_platform.core.units import UnitSystem, read_unit, unit_of
from mecapy_platform.core.units.conversions import IDENTITY, Factor, factor_of
from mecapy_platform.core.value_reader import said as said_of_value

MAX_STEPS = 1_000_000


@dataclass
class Scope:
    """One evaluation: what it reads, and how much it may still do."""

    values: Mapping[str, Any]
    steps: int = MAX_STEPS
    read: dict[str, Any] = field(default_factory=dict)

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            message = f"the expression takes more than {MAX_STEPS} steps; compute long lists in a function."
            raise ExpressionError("expression_too_slow", message)


def kind_of(kind: TypeExpression, name: str) -> Kind:
    """What values of a type are to an expression. Files and `Object` cannot be read: "expression_wrong_type"."""
    found = _kind_of(kind)
    if found is None:
        message = f"{name} is {kind}, which no expression can read; give it a type of numbers, text or true and false."
        raise ExpressionError("expression_wrong_type", message)
    return found


@lru_cache(2048)
def _kind_of(kind: TypeExpression) -> Kind | None:
    found: Kind | None = None
    if isinstance(kind, NamedType):
        found = _named(kind.name)
    elif isinstance(kind, UnitType):
        found = NumberKind(read_unit(kind.unit).dimension)
    elif isinstance(kind, ListType):
        element = _kind_of(kind.element)
        found = element and ListKind(element)
    elif isinstance(kind, DictType):
        value = _kind_of(kind.value)
        found = value and MappingKind(value)
    elif isinstance(kind, StructType):
        found = _struct(kind.fields)
    elif isinstance(kind, LiteralType):
        found = _kind_of_choice(kind)
    return found


def _struct(fields: Iterable[tuple[str, TypeExpression]]) -> Kind | None:
    """None where any field cannot be read."""
    read = [(name, _kind_of(part)) for name, part in fields]
    known = tuple((name, part) for name, part in read if part is not None)
    return StructKind(known) if len(known) == len(read) else None


def _named(type_name: str) -> Kind | None:
    entry = CATALOG[type_name]
    if entry.unit is not None and entry.kind == "scalar":
        return NumberKind(read_unit(str(unit_of(type_name))).dimension)
    if is_number(type_name):
        return INTEGER if type_name == "Integer" else PURE_FLOAT
    plain: dict[str, Kind] = {
        "Boolean": BOOLEAN,
        "String": TEXT,
        "Matrix": ListKind(ListKind(PURE_FLOAT)),
        "Array": ListKind(PURE_FLOAT),
    }
    if entry.fields is not None:
        return _struct((inner, NamedType(part)) for inner, part in entry.fields.items())
    element = entry.element_type and _named(entry.element_type)
    return plain.get(type_name) or (ListKind(element) if element else None)


def _kind_of_choice(kind: LiteralType) -> Kind | None:
    kinds = {type(value) for value in kind.values}
    if kinds <= {int, float}:
        return INTEGER if kinds == {int} else PURE_FLOAT
    if len(kinds) > 1:
        return None
    return BOOLEAN if kinds == {bool} else TEXT


def si_factor_of(kind: TypeExpression, system: UnitSystem) -> Factor:
    """From a type's own unit to SI; nothing changes for what carries none."""
    unit = kind.unit if isinstance(kind, UnitType) else None
    if isinstance(kind, NamedType):
        unit = unit_of(kind.name, system)
    return IDENTITY if unit is None else factor_of(read_unit(unit).factor)


class Reading:
    """Reads a value of a port. Checks whatever it meets: a value may have come past the check of its type."""

    def __init__(self, scope: Scope, system: UnitSystem) -> None:
        self._scope = scope
        self._system = system

    def read(self, kind: TypeExpression, value: Any, name: str) -> Any:
        self._scope.spend(1)
        if value is None:
            message = f"{name} has no value; test for it before, or give the input a default."
            raise ExpressionError("expression_missing_value", message)
        if isinstance(kind, ListType):
            return self._list(kind.element, value, name)
        if isinstance(kind, DictType):
            return {key: self.read(kind.value, inner, f"{name}.{key}") for key, inner in self._object(value, name)}
        if isinstance(kind, StructType):
            return self._struct(dict(kind.fields), value, name)
        return self._plain(kind, value, name)

    def _plain(self, kind: TypeExpression, value: Any, name: str) -> Any:
        entry = CATALOG[kind.name] if isinstance(kind, NamedType) else None
        if entry is not None and entry.fields is not None:
            return self._struct({inner: NamedType(part) for inner, part in entry.fields.items()}, value, name)
        if entry is not None and entry.name == "Array":
            return self._array(value if isinstance(value, list) else [value], name)
        if entry is not None and entry.element_type is not None:
            element: TypeExpression = NamedType(entry.element_type)
            return self._list(ListType(element) if entry.name == "Matrix" else element, value, name)
        wanted = kind_of(kind, name)
        if isinstance(wanted, NumberKind):
            return self._number(kind, value, name)
        if not isinstance(value, bool if isinstance(wanted, BooleanKind) else str):
            raise _wrong(name, value, said(wanted))
        return value

    def _array(self, value: list[Any], name: str) -> list[Any]:
        if any(isinstance(inner, list) for inner in value):
            message = f"{name} has several dimensions; an expression reads arrays of numbers in a row."
            raise ExpressionError("expression_wrong_type", message)
        return self._list(NamedType("Float"), value, name)

    def _number(self, kind: TypeExpression, value: Any, name: str) -> float:
        return self._numbers(kind, [value], lambda _: name)[0]

    def _numbers(self, kind: TypeExpression, values: Sequence[Any], name_of: Callable[[int], str]) -> list[float]:
        """Many numbers of one type: what they have in common is found once."""
        factor, is_choice = si_factor_of(kind, self._system), isinstance(kind, LiteralType)
        is_whole = kind == NamedType("Integer")
        found: list[float] = []
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _wrong(name_of(index), value, "a number")
            if not abs(value) <= (LARGEST_INTEGER if isinstance(value, int) else sys.float_info.max):
                message = f"{name_of(index)} is too large, or not finite."
                raise ExpressionError("expression_overflow", message)
            if is_whole and value != int(value):
                raise _wrong(name_of(index), value, "a whole number")
            is_kept = is_whole or (is_choice and isinstance(value, int))
            found.append(int(value) if is_kept else factor.apply(float(value)))
        return found

    def _list(self, element: TypeExpression, value: Any, name: str) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise _wrong(name, value, "a list")
        if isinstance(kind_of(element, name), NumberKind) and None not in value:
            self._scope.spend(len(value))
            return self._numbers(element, value, lambda index: f"{name}[{index}]")
        return [self.read(element, inner, f"{name}[{index}]") for index, inner in enumerate(value)]

    def _object(self, value: Any, name: str) -> list[tuple[str, Any]]:
        if not isinstance(value, Mapping):
            raise _wrong(name, value, "an object")
        return list(value.items())

    def _struct(self, fields: Mapping[str, TypeExpression], value: Any, name: str) -> dict[str, Any]:
        """Fields that are absent or null stay absent: reading them is an error of its own."""
        given = dict(self._object(value, name))
        return {
            inner: self.read(kind, given[inner], f"{name}.{inner}")
            for inner, kind in fields.items()
            if given.get(inner) is not None
        }


def _wrong(name: str, value: Any, what: str) -> ExpressionError:
    return ExpressionError("expression_wrong_type", f"{name} is {said_of_value(value)}; it must be {what}.")


def misfit(kind: Kind, wanted: TypeExpression) -> str | None:
    """Why a value of a kind cannot be given as a type; None where it can."""
    if isinstance(wanted, ListType) and isinstance(kind, ListKind):
        return misfit(kind.element, wanted.element)
    if isinstance(wanted, DictType) and isinstance(kind, MappingKind):
        return misfit(kind.value, wanted.value)
    if isinstance(wanted, StructType) and isinstance(kind, StructKind):
        return _misfit_of_struct(kind, wanted)
    try:
        needed = kind_of(wanted, "the result")
    except ExpressionError:
        return f"{wanted} cannot be the result of an expression."
    return _misfit_of_plain(kind, needed, wanted)


def _misfit_of_plain(kind: Kind, needed: Kind, wanted: TypeExpression) -> str | None:
    if isinstance(kind, NumberKind) and isinstance(needed, NumberKind):
        return _misfit_of_number(kind, needed, wanted)
    if isinstance(kind, ListKind) and isinstance(needed, ListKind):
        return _misfit_of_plain(kind.element, needed.element, wanted)
    return None if kind == needed else f"the expression gives {said(kind)}, not {wanted}."


def _misfit_of_number(kind: NumberKind, needed: NumberKind, wanted: TypeExpression) -> str | None:
    if not are_alike(kind.dimension, needed.dimension):
        assert kind.dimension is not None
        assert needed.dimension is not None
        unit, other = unit_text(kind.dimension), unit_text(needed.dimension)
        if said(kind).endswith("number"):
            return f"the expression gives {said(kind)}, {wanted} is in {other}; multiply it by 1[{other}]."
        if other == "1":
            return (
                f"the expression gives {said(kind)}, {wanted} has no unit; take Float[{unit}], or divide by 1[{unit}]."
            )
        return f"the expression gives {said(kind)}, {wanted} is in {other}."
    if needed.is_integer and not kind.is_integer:
        return f"the expression gives {said(kind)}, {wanted} is a whole number; round(..) gives one."
    return None


def _misfit_of_struct(kind: StructKind, wanted: StructType) -> str | None:
    given, needed = dict(kind.fields), dict(wanted.fields)
    if given.keys() != needed.keys():
        return f"the expression gives an object with {', '.join(given)}, not {wanted}."
    found = (misfit(inner, needed[name]) for name, inner in given.items())
    return next((why for why in found if why), None)


def written(kind: TypeExpression, value: Any, system: UnitSystem) -> Any:
    """A value in SI as the JSON of a type that it fits."""
    if isinstance(kind, ListType):
        return [written(kind.element, inner, system) for inner in value]
    if isinstance(kind, DictType):
        return {name: written(kind.value, inner, system) for name, inner in value.items()}
    if isinstance(kind, StructType):
        fields = dict(kind.fields)
        return {name: written(fields[name], inner, system) for name, inner in value.items()}
    if isinstance(kind, LiteralType) and value not in kind.values:
        message = f"the expression gives {said_of_value(value)}; allowed are {kind}."
        raise ExpressionError("expression_wrong_type", message)
    return _written_plain(kind, value, system)


def _written_plain(kind: TypeExpression, value: Any, system: UnitSystem) -> Any:
    entry = CATALOG[kind.name] if isinstance(kind, NamedType) else None
    if entry is not None and entry.fields is not None:
        return {name: _written_plain(NamedType(entry.fields[name]), inner, system) for name, inner in value.items()}
    if isinstance(value, list):
        element = NamedType(entry.element_type) if entry is not None and entry.element_type else kind
        return [_written_plain(element, inner, system) for inner in value]
    if isinstance(value, bool | str):
        return value
    is_whole = isinstance(kind, LiteralType) or kind in {NamedType("Integer"), NamedType("Numeric")}
    found = value if is_whole else si_factor_of(kind, system).inverse.apply(float(value))
    if isinstance(found, float) and not math.isfinite(found):
        raise ExpressionError("expression_overflow", "the result is too large for its unit.")
    return found
