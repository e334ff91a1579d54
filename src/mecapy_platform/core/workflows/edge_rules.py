"""Judges the edges of a graph: their ends, how many go into a port, and whether types and units agree."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mecapy_platform.core.types import DictType, ListType, NamedType, TypeExpression, UnitType, is_number
from mecapy_platform.core.types.connections import compare
from mecapy_platform.core.units import Unit, UnitSystem, read_unit, unit_of
from mecapy_platform.core.workflows.graph import Edge, Graph, NodeKind
from mecapy_platform.core.workflows.ports import OBJECT, NodePorts, entry_key, takes_several
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.core.workflows.signatures import Port, Ports

Found = list[GraphProblem]


def judge_edges(graph: Graph, ports: Mapping[str, NodePorts], problems: Found) -> None:
    """Every rule about edges. Ends whose ports are unknown are passed over: why has been said at the node."""
    into: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, edge in enumerate(graph.edges):
        if _ends_are_known(graph, ports, index, edge, problems):
            into[edge.target, edge.target_port].append(index)
    for places in into.values():
        _judge_port(graph, ports, places, problems)
    _find_unconnected(graph, ports, into.keys(), problems)


def _ends_are_known(graph: Graph, ports: Mapping[str, NodePorts], index: int, edge: Edge, problems: Found) -> bool:
    before = len(problems)
    ends = (("source", edge.source, edge.source_port), ("target", edge.target, edge.target_port))
    for side, key, port in ends:
        if key not in graph.nodes:
            message = f"There is no node {key[:80]!r}."
            problems.append(
                GraphProblem("unknown_node", message, field=f"{side}_node_key", edge=index, details=ends_of(edge))
            )
            continue
        known = ports[key].outputs if side == "source" else ports[key].inputs
        if known is not None and port not in known:
            what = "output" if side == "source" else "input"
            message = f"Node {key} has no {what} {port[:80]!r}; it has: {_listed(known)}."
            code = f"unknown_{side}_port"
            problems.append(
                GraphProblem(code, message, field=f"{side}_port", edge=index, port=port, details=ends_of(edge))
            )
    return len(problems) == before


def _listed(ports: Ports) -> str:
    names = list(ports)
    return ", ".join(names[:20]) + (", .." if len(names) > 20 else "") or "none"


def _judge_port(graph: Graph, ports: Mapping[str, NodePorts], places: list[int], problems: Found) -> None:
    """All edges into one port."""
    first = graph.edges[places[0]]
    target = (ports[first.target].inputs or {}).get(first.target_port)
    if target is None:
        return
    is_collected = len(places) > 1 or first.alias is not None
    if len(places) > 1 and not takes_several(target.type):
        sources = [f"{graph.edges[place].source}.{graph.edges[place].source_port}" for place in places]
        message = f"{len(places)} edges feed {first.target}.{first.target_port}; a port of {target.type} takes one."
        details = {"sources": sources, "target": f"{first.target}.{first.target_port}"}
        problems.append(
            GraphProblem("duplicate_target_port", message, node=first.target, port=first.target_port, details=details)
        )
        return
    if is_collected and takes_several(target.type):
        _judge_keys(graph, places, problems)
        target = _entry(target)
    for place in places:
        edge = graph.edges[place]
        source = (ports[edge.source].outputs or {}).get(edge.source_port)
        if source is not None:
            _judge_types(place, edge, source, target, problems)


def _entry(port: Port) -> Port:
    return Port(port.type.value, port.system) if isinstance(port.type, DictType) else port


def _judge_keys(graph: Graph, places: list[int], problems: Found) -> None:
    keys = Counter(entry_key(graph.edges[place]) for place in places)
    for place in places:
        edge = graph.edges[place]
        if keys[entry_key(edge)] > 1:
            message = (
                f"Several edges bring {entry_key(edge)!r} to {edge.target}.{edge.target_port}; "
                "give each an alias of its own."
            )
            problems.append(
                GraphProblem("duplicate_target_port", message, field="alias", edge=place, details=ends_of(edge))
            )


def ends_of(edge: Edge) -> dict[str, Any]:
    """An edge as its report names it."""
    return {
        "source_node_key": edge.source,
        "source_port": edge.source_port,
        "target_node_key": edge.target,
        "target_port": edge.target_port,
    }


def _judge_types(place: int, edge: Edge, source: Port, target: Port, problems: Found) -> None:
    allowed, reason = _compared(source.type, target.type)
    if allowed:
        return
    units = [_unit(port.type, port.system) for port in (source, target)]
    are_alike = _depth(source.type) == _depth(target.type)
    details = ends_of(edge) | {"source_type": str(source.type), "target_type": str(target.type)}
    code = "type_mismatch"
    if are_alike and units[0] is not None and units[1] is not None:
        code = "unit_mismatch"
        proposal = _proposal(source, target, read_unit(units[0]), read_unit(units[1]))
        details |= {"source_unit": units[0], "target_unit": units[1], "proposal": proposal}
        reason = f"{reason} {edge.source}.{edge.source_port} is in {units[0]}, {edge.target}.{edge.target_port} in "
        reason += f"{units[1]}. {proposal['why']}"
    elif target.type != OBJECT and isinstance(target.type, DictType) and _compared(source.type, target.type.value)[0]:
        reason += " Give the edge an alias to hand the value over under that key."
    details["reason"] = reason
    problems.append(GraphProblem(code, reason, edge=place, port=edge.target_port, details=details))


@lru_cache(8192)
def _compared(source: TypeExpression, target: TypeExpression) -> tuple[bool, str]:
    return compare(source, target)


@lru_cache(2048)
def _unit(kind: TypeExpression, system: UnitSystem) -> str | None:
    """The unit of a number, or of the numbers in a list."""
    while isinstance(kind, ListType):
        kind = kind.element
    if isinstance(kind, UnitType):
        return kind.unit
    return unit_of(kind.name, system) if isinstance(kind, NamedType) and is_number(kind.name) else None


def _depth(kind: TypeExpression) -> int:
    depth = 0
    while isinstance(kind, ListType):
        depth, kind = depth + 1, kind.element
    return depth


def _proposal(source: Port, target: Port, one: Unit, other: Unit) -> dict[str, Any]:
    """A node that would stand between the two ends, and why."""
    if _depth(source.type) == 0 and one.dimension == other.dimension:
        node = {
            "node_kind": NodeKind.EXPRESSION.value,
            "expression": "value",
            "ports": {"value": str(source.type)},
            "type_expr": str(target.type),
        }
        why = f"Both have one dimension: an expression node `value` from {source.type} to {target.type} converts it."
        return {"action": "convert", "node": node, "why": why}
    node = {"node_kind": NodeKind.ASSUME_UNIT.value, "type_expr": str(target.type)}
    why = f"If the number is meant as {target.type}, put an assume_unit node of that type between them."
    return {"action": "assume_unit", "node": node, "why": why}


def _find_unconnected(graph: Graph, ports: Mapping[str, NodePorts], fed: Any, problems: Found) -> None:
    """Every input of a function node has an edge, as published; of our kinds those that are required."""
    touched = set(fed) | {(edge.target, edge.target_port) for edge in graph.edges}
    for key, node in graph.nodes.items():
        for name, port in (ports[key].inputs or {}).items():
            if (key, name) in touched or not (port.required or node.kind is NodeKind.FUNCTION):
                continue
            message = f"Nothing feeds the input {name} ({port.type}) of {key}; connect an output or an input node."
            problems.append(GraphProblem("unconnected_input", message, node=key, port=name))
