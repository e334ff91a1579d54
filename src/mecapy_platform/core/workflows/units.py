"""Units on edges: which values change on their way, by how much, and where a unit is taken for granted.

Whether an edge is allowed is said by core/workflows/edge_rules; what changes the values, by core/workflows/border.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    is_number,
)
from mecapy_platform.core.units import UnitSystem, read_unit, unit_of
from mecapy_platform.core.units.conversions import factor_between
from mecapy_platform.core.workflows.graph import Edge, Graph, NodeKind
from mecapy_platform.core.workflows.ports import NodePorts, takes_several
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.core.workflows.signatures import Port

OBJECT = NamedType("Object")


@dataclass(frozen=True)
class Conversion:
    """A number that changes: its `place` inside the value ("" for the value itself), and what it is multiplied by."""

    place: str
    source_unit: str
    target_unit: str
    factor: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "source_unit": self.source_unit,
            "target_unit": self.target_unit,
            "factor": self.factor,
        }


@lru_cache(4096)
def changes(source: Port, target: Port) -> tuple[Conversion, ...]:
    """What an allowed edge changes. Into `Object` a value goes in the units of the system of that end."""
    kind = source.type if target.type == OBJECT else target.type
    found = []
    for place, first, second in _pairs("", source.type, source.system, kind, target.system):
        if first is not None and second is not None and first != second:
            if read_unit(first).dimension != read_unit(second).dimension:
                continue
            factor = factor_between(first, second)
            if not factor.is_identity:
                found.append(Conversion(place, first, second, factor.number))
    return tuple(found)


Pair = tuple[str, str | None, str | None]


def _pairs(
    place: str, source: TypeExpression, system: UnitSystem, target: TypeExpression, other: UnitSystem
) -> Iterator[Pair]:
    """The units of both ends, for each number inside."""
    if isinstance(source, ListType) and isinstance(target, ListType):
        yield from _pairs(f"{place}[]", source.element, system, target.element, other)
    elif isinstance(source, DictType) and isinstance(target, DictType):
        yield from _pairs(f"{place}{{}}", source.value, system, target.value, other)
    elif (fields := _fields(source)) and (others := _fields(target)):
        for name, kind in fields.items():
            if name in others:
                yield from _pairs(f"{place}.{name}".lstrip("."), kind, system, others[name], other)
    else:
        yield place, _unit(source, system), _unit(target, other)


def _fields(kind: TypeExpression) -> dict[str, TypeExpression]:
    if isinstance(kind, StructType):
        return dict(kind.fields)
    fields = CATALOG[kind.name].fields if isinstance(kind, NamedType) else None
    return {name: NamedType(inner) for name, inner in (fields or {}).items()}


def _unit(kind: TypeExpression, system: UnitSystem) -> str | None:
    """Of a number, or of the numbers of a vector."""
    if isinstance(kind, UnitType):
        return kind.unit
    if not isinstance(kind, NamedType):
        return None
    return unit_of(CATALOG[kind.name].element_type or kind.name, system)


def conversions(graph: Graph, ports: Mapping[str, NodePorts]) -> Iterator[dict[str, Any]]:
    """Every edge on whose way numbers change, with its place in the list."""
    for index, edge in enumerate(graph.edges):
        ends = _ends(edge, ports)
        if ends is not None and (found := changes(*ends)):
            yield {
                "edge": index,
                "source": f"{edge.source}.{edge.source_port}",
                "target": f"{edge.target}.{edge.target_port}",
                "changes": [change.as_dict() for change in found],
            }


def unit_warnings(graph: Graph, ports: Mapping[str, NodePorts]) -> Iterator[GraphProblem]:
    """Where a number changes its meaning without a change of its value."""
    for index, edge in enumerate(graph.edges):
        ends = _ends(edge, ports)
        if ends is None:
            continue
        source, target = ends
        has, gets = _unit(source.type, source.system), _unit(target.type, target.system)
        names = f"{edge.source}.{edge.source_port}", f"{edge.target}.{edge.target_port}"
        if graph.nodes[edge.target].kind is NodeKind.ASSUME_UNIT and has is not None:
            message = (
                f"{names[0]} has a unit, {has}; {edge.target} takes its number as it stands and forgets that unit."
            )
            yield GraphProblem("unit_forgotten", message, edge=index, port=edge.target_port)
        elif has is None and gets is not None and _is_bare(source.type) and UnitSystem.MM_N_MPA in _systems(ends):
            message = f"{names[0]} has no unit; its number is taken as one in {gets} by {names[1]}."
            yield GraphProblem("unit_assumed", message, edge=index, port=edge.target_port)


def _is_bare(kind: TypeExpression) -> bool:
    return isinstance(kind, NamedType) and is_number(kind.name)


def _systems(ends: tuple[Port, Port]) -> set[UnitSystem]:
    return {port.system for port in ends}


def _ends(edge: Edge, ports: Mapping[str, NodePorts]) -> tuple[Port, Port] | None:
    """Both ends as the value meets them: one entry of a port that collects several."""
    if edge.source not in ports or edge.target not in ports:
        return None
    source = (ports[edge.source].outputs or {}).get(edge.source_port)
    target = (ports[edge.target].inputs or {}).get(edge.target_port)
    if source is None or target is None:
        return None
    is_entry = edge.alias is not None and takes_several(target.type) and isinstance(target.type, DictType)
    if is_entry and isinstance(target.type, DictType):
        target = Port(target.type.value, target.system)
    return source, target
