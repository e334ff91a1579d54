"""Values on their way from a node to another: numbers change units where the two ends have different ones."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mecapy_platform.core.types import (
    CATALOG,
    DictType,
    ListType,
    NamedType,
    StructType,
    TypeExpression,
    UnitType,
)
from mecapy_platform.core.units import UnitSystem, read_unit, unit_of
from mecapy_platform.core.units.conversions import factor_between

Convert = Callable[[Any], Any]
OBJECT = NamedType("Object")
TORSOR = {"force": "Force3", "F": "Force3", "moment": "Moment3", "M": "Moment3"}


@lru_cache(4096)
def converter(
    source: TypeExpression, source_system: UnitSystem, target: TypeExpression, target_system: UnitSystem
) -> Convert | None:
    """What changes a value of one end into a value of the other; None where nothing changes.

    The shape of the value is not judged here: what does not look as its type says is handed on as it is. Into `Object`
    a value goes in the units of the system of that end.
    """
    if target == OBJECT:
        target = source
    if isinstance(source, ListType) and isinstance(target, ListType):
        return _list(converter(source.element, source_system, target.element, target_system))
    if isinstance(source, DictType) and isinstance(target, DictType):
        return _dict(converter(source.value, source_system, target.value, target_system))
    if isinstance(source, StructType) and isinstance(target, StructType):
        to = dict(target.fields)
        inner = {
            name: converter(kind, source_system, to[name], target_system) for name, kind in source.fields if name in to
        }
        return _fields({name: convert for name, convert in inner.items() if convert is not None})
    if isinstance(source, NamedType) and isinstance(target, NamedType):
        if source.name == target.name == "Torsor":
            inner = {
                name: converter(NamedType(kind), source_system, NamedType(kind), target_system)
                for name, kind in TORSOR.items()
            }
            return _fields({name: convert for name, convert in inner.items() if convert is not None})
        elements = [CATALOG[kind.name].element_type for kind in (source, target)]
        if all(elements):
            one, other = (NamedType(str(element)) for element in elements)
            return _list(converter(one, source_system, other, target_system))
    return _scale(_unit(source, source_system), _unit(target, target_system))


def _unit(kind: TypeExpression, system: UnitSystem) -> str | None:
    if isinstance(kind, UnitType):
        return kind.unit
    return unit_of(kind.name, system) if isinstance(kind, NamedType) else None


def _scale(source: str | None, target: str | None) -> Convert | None:
    if source is None or target is None or source == target:
        return None
    if read_unit(source).dimension != read_unit(target).dimension:
        return None
    factor = factor_between(source, target)
    if factor.is_identity:
        return None

    def scaled(value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return factor.apply(value) if is_number else value

    return scaled


def _list(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None
    return lambda value: [inner(item) for item in value] if isinstance(value, list | tuple) else value


def _dict(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None
    return lambda value: {key: inner(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _fields(inner: Mapping[str, Convert]) -> Convert | None:
    if not inner:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: inner[name](item) if name in inner else item for name, item in value.items()}

    return convert
