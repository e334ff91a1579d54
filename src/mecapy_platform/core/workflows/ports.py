"""Input and output ports of each kind of node, by the functions and workflows that it names."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.types import (
    DictType,
    FileType,
    ListType,
    NamedType,
    TypeExpression,
    UnitType,
    contains_file,
    is_number,
)
from mecapy_platform.core.types.connections import compare
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.value_reader import ValueReader
from mecapy_platform.core.workflows.graph import INPUT_PORT, Body, Edge, Graph, Node, NodeKind
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.core.workflows.signatures import Catalog, Port, Ports, parsed

OBJECT = NamedType("Object")
INTEGER = NamedType("Integer")
STRING = NamedType("String")
FAILED_PORT, ITERATIONS_PORT, COMMENT_PORT = "_failed", "iterations", "comment"
ITERATION = "iteration"  # what a loop's condition reads beside its outputs


@dataclass(frozen=True)
class NodePorts:
    """`inputs` or `outputs` None: unknown, because of a problem that has been said; its edges are not judged then."""

    inputs: Ports | None
    outputs: Ports | None


UNKNOWN = NodePorts(None, None)


def ports_of(node: Node, catalog: Catalog, problems: list[GraphProblem]) -> NodePorts:
    """The ports of one node; what is wrong with them goes to `problems`."""
    return _KINDS[node.kind](_Reading(node, catalog, problems))


def takes_several(kind: TypeExpression) -> bool:
    """Whether a port takes several edges, each under a key of its own."""
    return kind == OBJECT or isinstance(kind, DictType)


def is_nested_file(kind: TypeExpression) -> bool:
    """Files inside a list, dict or struct: nobody can give them to an input node."""
    return contains_file(kind) and not isinstance(kind, FileType)


def entry_key(edge: Edge) -> str:
    """The key under which a port that takes several edges keeps what this one brings."""
    return edge.alias or f"{edge.source}.{edge.source_port}"


def terminal_keys(graph: Graph) -> tuple[str, ...]:
    """The nodes that feed no other, in their order: what a run gives are their outputs.

    Not those that only stand in: for a node that failed, or for the whole run.
    """
    feeding = {edge.source for edge in graph.edges}
    stand_ins = {node.fallback for node in graph.nodes.values() if node.fallback} | {graph.on_failure}
    return tuple(
        key
        for key, node in graph.nodes.items()
        if key not in feeding and key not in stand_ins and node.kind is not NodeKind.INPUT
    )


def workflow_ports(graph: Graph, catalog: Catalog) -> NodePorts:
    """The ports of a graph where it is a node itself: its input nodes by key, and what its terminal nodes give.

    An output is named as its port; `node.port` where several terminal nodes have one name.
    """
    nodes = graph.nodes.values()
    inputs = {
        node.key: Port(parsed(node.input.type_expr), required=node.input.required)
        for node in nodes
        if node.input is not None
    }
    given = [
        (key, name, port)
        for key in terminal_keys(graph)
        for name, port in (ports_of(graph.nodes[key], catalog, []).outputs or {}).items()
    ]
    times = Counter(name for _, name, _ in given)
    return NodePorts(inputs, {name if times[name] == 1 else f"{key}.{name}": port for key, name, port in given})


class _Reading:
    """One node on its way to its ports."""

    def __init__(self, node: Node, catalog: Catalog, problems: list[GraphProblem]) -> None:
        self.node = node
        self._catalog = catalog
        self._problems = problems

    def problem(self, field: str, code: str, message: str, port: str | None = None, **details: Any) -> None:
        self._problems.append(GraphProblem(code, message, node=self.node.key, field=field, port=port, details=details))

    def type(self, expression: Any, field: str) -> TypeExpression | None:
        try:
            return parsed(expression)
        except InvalidInputError as error:
            self.problem(field, "invalid_node_type", error.message, type_expr=expression)
            return None

    def own_ports(self) -> Ports:
        """The `ports` that a node declares for its expressions; of what is no type nothing."""
        kinds = {name: self.type(kind, f"ports.{name}") for name, kind in self.node.ports.items()}
        return {name: Port(kind) for name, kind in kinds.items() if kind is not None}

    def value(self, kind: TypeExpression, value: Any, field: str) -> None:
        """Judge a value that stands in the graph itself."""
        if contains_file(kind):
            self.problem(field, "invalid_node_value", "A file cannot stand in a graph; make it an input node.")
            return
        reader = ValueReader(UnitSystem.SI)
        reader.read(kind, value, field)
        for found in reader.problems[:3]:
            self.problem(field, "invalid_node_value", found.message)

    def body(self, body: Body | None, field: str) -> NodePorts:
        if body is None or body == Body():
            return UNKNOWN
        return self._function(body, field) if body.function_version_id is not None else self._workflow(body, field)

    def _function(self, body: Body, field: str) -> NodePorts:
        assert body.function_version_id is not None
        found = self._catalog.functions.get(body.function_version_id)
        if found is None:
            message = "There is no such function version that you may use."
            version_id = str(body.function_version_id)
            self.problem(field, "unknown_function_version", message, function_version_id=version_id)
            return UNKNOWN
        if found.inputs is None or found.outputs is None:
            message = f"{found.name} has no typed ports{': ' + found.reason if found.reason else ''}."
            self.problem(field, "no_typed_ports", message, function_version_id=str(found.id))
            return UNKNOWN
        return NodePorts(found.inputs, found.outputs)

    def _workflow(self, body: Body, field: str) -> NodePorts:
        assert body.workflow_version_id is not None
        found = self._catalog.workflows.get(body.workflow_version_id)
        if found is None:
            message = "There is no such workflow version that you may use."
            version_id = str(body.workflow_version_id)
            self.problem(field, "unknown_workflow_version", message, workflow_version_id=version_id)
            return UNKNOWN
        return NodePorts(found.inputs, found.outputs)


def _input(reading: _Reading) -> NodePorts:
    spec = reading.node.input
    if spec is None:
        return UNKNOWN
    kind = reading.type(spec.type_expr, "input_spec.type_expr")
    if kind is None:
        return NodePorts({}, None)
    if is_nested_file(kind):
        message = f"{kind}: a File stands alone; make an input node for each file."
        reading.problem("input_spec.type_expr", "invalid_node_type", message, type_expr=spec.type_expr)
        return NodePorts({}, {INPUT_PORT: Port(kind)})
    if spec.default is not None:
        reading.value(kind, spec.default, "input_spec.default")
    return NodePorts({}, {INPUT_PORT: Port(kind)})


def _constant(reading: _Reading) -> NodePorts:
    kind = reading.type(reading.node.type_expr, "type_expr")
    if kind is None:
        return NodePorts({}, None)
    reading.value(kind, reading.node.value, "value")
    return NodePorts({}, {INPUT_PORT: Port(kind)})


def _expression(reading: _Reading) -> NodePorts:
    kind = reading.type(reading.node.type_expr, "type_expr")
    return NodePorts(reading.own_ports(), None if kind is None else {INPUT_PORT: Port(kind)})


def _assume_unit(reading: _Reading) -> NodePorts:
    kind = reading.type(reading.node.type_expr, "type_expr")
    if kind is None:
        return UNKNOWN
    if (bare := numbers_of(kind)) is None:
        message = f"{kind} is no number with a unit, nor a list of such; write Stress or Float[MPa]."
        reading.problem("type_expr", "invalid_node_type", message, type_expr=reading.node.type_expr)
        return UNKNOWN
    return NodePorts({INPUT_PORT: Port(bare)}, {INPUT_PORT: Port(kind)})


def numbers_of(kind: TypeExpression) -> TypeExpression | None:
    """The same shape of bare numbers; None for what is neither a number nor lists of numbers."""
    if isinstance(kind, ListType):
        inner = numbers_of(kind.element)
        return inner and ListType(inner)
    if isinstance(kind, UnitType) or (isinstance(kind, NamedType) and is_number(kind.name)):
        return NamedType("Numeric")
    return None


def _map(reading: _Reading) -> NodePorts:
    found = reading.body(reading.node.body, "body")
    if found.inputs is None or found.outputs is None:
        return UNKNOWN
    inputs = dict(found.inputs)
    for name in reading.node.over:
        if name not in inputs:
            known = ", ".join(inputs) or "none"
            reading.problem("over", "unknown_map_port", f"The body has no input {name[:80]!r}; it has: {known}.", name)
            continue
        port = inputs[name]
        inputs[name] = Port(ListType(port.type), port.system)
    outputs = {name: Port(ListType(port.type), port.system) for name, port in found.outputs.items()}
    return NodePorts(inputs, {**outputs, FAILED_PORT: Port(INTEGER)})


def _branches(reading: _Reading) -> NodePorts:
    """All branches together: the inputs of each, and outputs that are the same in all."""
    fields = _branch_fields(reading.node)
    bodies = [
        (field, reading.body(case.body, field))
        for field, case in zip(fields, reading.node.cases, strict=True)
        if case.body is not None
    ]
    if any(found.inputs is None or found.outputs is None for _, found in bodies):
        return UNKNOWN
    inputs = dict(reading.own_ports())
    for field, found in bodies:
        for name, port in (found.inputs or {}).items():
            if name not in inputs:
                inputs[name] = port
            elif inputs[name].type != port.type:
                message = f"The input {name} is {port.type} here and {inputs[name].type} elsewhere in this node."
                reading.problem(field, "branches_differ", message, name)
            elif port.required and not inputs[name].required:
                inputs[name] = port
    outputs = bodies[0][1].outputs if bodies else {}
    for field, found in bodies[1:]:
        if shown(found.outputs) != shown(outputs):
            message = (
                f"This branch gives {shown(found.outputs)}, the first one gives {shown(outputs)}; make them equal."
            )
            reading.problem(field, "branches_differ", message)
    return NodePorts(inputs, outputs)


def _branch_fields(node: Node) -> list[str]:
    if node.kind is NodeKind.IF:
        return ["then", "else"]
    return [*(f"cases.{index}.body" for index in range(len(node.cases) - 1)), "default"]


def shown(ports: Ports | None) -> str:
    """Names and types in a stable order, to be compared and to be read."""
    return ", ".join(f"{name}: {port.type}" for name, port in sorted((ports or {}).items())) or "nothing"


def _loop(reading: _Reading) -> NodePorts:
    found = reading.body(reading.node.body, "body")
    if found.inputs is None or found.outputs is None:
        return UNKNOWN
    for source, target in reading.node.feedback.items():
        wrong = next(
            (
                f"The body has no {what} {name[:80]!r}; it has: {', '.join(ports) or 'none'}."
                for what, name, ports in (("output", source, found.outputs), ("input", target, found.inputs))
                if name not in ports
            ),
            None,
        )
        if wrong is None:
            allowed, reason = compare(found.outputs[source].type, found.inputs[target].type)
            wrong = None if allowed else reason
        if wrong is not None:
            reading.problem("feedback", "wrong_feedback", wrong, source)
    return NodePorts(found.inputs, {**found.outputs, ITERATIONS_PORT: Port(INTEGER)})


def _approval(_: _Reading) -> NodePorts:
    optional = {INPUT_PORT: Port(OBJECT, required=False)}
    return NodePorts(optional, {INPUT_PORT: Port(OBJECT), COMMENT_PORT: Port(STRING)})


def _delay(_: _Reading) -> NodePorts:
    return NodePorts({INPUT_PORT: Port(OBJECT, required=False)}, {INPUT_PORT: Port(OBJECT)})


_KINDS: Mapping[NodeKind, Callable[[_Reading], NodePorts]] = {
    NodeKind.FUNCTION: lambda reading: reading.body(reading.node.body, "function_version_id"),
    NodeKind.WORKFLOW: lambda reading: reading.body(reading.node.body, "workflow_version_id"),
    NodeKind.INPUT: _input,
    NodeKind.CONSTANT: _constant,
    NodeKind.EXPRESSION: _expression,
    NodeKind.ASSUME_UNIT: _assume_unit,
    NodeKind.MAP: _map,
    NodeKind.IF: _branches,
    NodeKind.SWITCH: _branches,
    NodeKind.LOOP: _loop,
    NodeKind.APPROVAL: _approval,
    NodeKind.DELAY: _delay,
}
