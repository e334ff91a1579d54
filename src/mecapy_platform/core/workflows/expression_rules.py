"""Judges the expressions of nodes for the types that they read: what `ports` declare, or what a loop's body gives."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.expressions import BooleanKind, ExpressionError, check, parse, said
from mecapy_platform.core.types import NamedType, TypeExpression
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.graph import Graph, Node, NodeKind
from mecapy_platform.core.workflows.ports import INTEGER, ITERATION, ITERATIONS_PORT, NodePorts
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.core.workflows.signatures import Port, Ports, parsed

BOOLEAN = NamedType("Boolean")
Types = tuple[tuple[str, TypeExpression], ...]


def judge_expressions(graph: Graph, ports: Mapping[str, NodePorts], problems: list[GraphProblem]) -> None:
    """Each expression of each node; one whose types are unknown is passed over, for why has been said."""
    for node in graph.nodes.values():
        for field, text, reads, wanted in _expressions(node, ports[node.key]):
            system = next((port.system for port in reads.values()), UnitSystem.SI)
            types = tuple((name, port.type) for name, port in reads.items())
            if (wrong := _judged(text, types, wanted, system)) is not None:
                code, message = wrong
                problems.append(GraphProblem(code, message, node=node.key, field=field))


def _expressions(node: Node, ports: NodePorts) -> Iterator[tuple[str, str, Ports, TypeExpression]]:
    """(field, text, what it may read, what it shall give)."""
    declared = _declared(node)
    if node.kind is NodeKind.EXPRESSION and ports.outputs and declared is not None:
        yield "expression", node.expression or "", declared, next(iter(ports.outputs.values())).type
    elif node.kind in {NodeKind.IF, NodeKind.SWITCH} and declared is not None:
        for index, case in enumerate(node.cases):
            if case.when is not None:
                field = "condition" if node.kind is NodeKind.IF else f"cases.{index}.when"
                yield field, case.when, declared, BOOLEAN
    elif node.kind is NodeKind.LOOP and ports.outputs is not None:
        reads = {name: port for name, port in ports.outputs.items() if name != ITERATIONS_PORT}
        yield "until", node.expression or "", {**reads, ITERATION: reads.get(ITERATION, Port(INTEGER))}, BOOLEAN


def _declared(node: Node) -> Ports | None:
    """The `ports` of a node; None where one of them is no type."""
    try:
        return {name: Port(parsed(kind)) for name, kind in node.ports.items()}
    except InvalidInputError:
        return None


@lru_cache(4096)
def _judged(text: str, types: Types, wanted: TypeExpression, system: UnitSystem) -> tuple[str, str] | None:
    """The code and the sentence of what is wrong."""
    try:
        is_condition = wanted == BOOLEAN
        found = check(parse(text), dict(types), None if is_condition else wanted, system)
        if is_condition and not isinstance(found.kind, BooleanKind):
            return "expression_wrong_type", f"This gives {said(found.kind)}; it must be true or false."
    except ExpressionError as error:
        return error.code, error.message
    return None
