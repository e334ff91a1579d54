"""What nodes take and give, with the unit system of each end: as their functions are, and as inner workflows say."""

from collections.abc import Callable, Iterable
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.types import ListType
from mecapy_platform.core.workflows.graph import INPUT_PORT, Body, Node, NodeKind
from mecapy_platform.core.workflows.ports import COMMENT_PORT, FAILED_PORT, INTEGER, ITERATIONS_PORT, OBJECT, STRING
from mecapy_platform.core.workflows.signatures import Port, Ports, parsed, ports_of_function
from mecapy_platform.services.runs.loading import LoadedFunction, LoadedVersion, bodies_of, load_functions, load_version


class Catalog:
    """Functions and versions that an advance has looked up; each once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._functions: dict[UUID, LoadedFunction] = {}

    def prefetch(self, nodes: Iterable[Node]) -> None:
        """Read the functions of many nodes in one statement."""
        wanted = {body.function_version_id for node in nodes for body in bodies_of(node)}
        missing = [
            function_id for function_id in wanted if function_id is not None and function_id not in self._functions
        ]
        self._functions |= load_functions(self._session, missing)

    def function(self, function_id: UUID) -> LoadedFunction | None:
        if function_id not in self._functions:
            self._functions |= load_functions(self._session, [function_id])
        return self._functions.get(function_id)

    def version(self, version_id: UUID) -> LoadedVersion:
        return load_version(self._session, version_id)

    def inputs(self, body: Body) -> Ports:
        if body.workflow_version_id is not None:
            graph = self.version(body.workflow_version_id).graph
            inputs = ((node.key, node.input) for node in graph.nodes.values())
            return {key: Port(parsed(spec.type_expr)) for key, spec in inputs if spec is not None}
        return self._of_function(body, "inputs")

    def outputs(self, node: Node, branch: int | None = None) -> Ports:
        """Of a node; of a branch that was taken, where that is known."""
        if node.kind in OWN_OUTPUTS:
            return OWN_OUTPUTS[node.kind](node)
        bodies = bodies_of(node)
        body = node.cases[branch].body if branch is not None else next(iter(bodies), None)
        found = self.outputs_of(body) if body is not None else {}
        if node.kind is NodeKind.MAP:
            lists = {name: Port(ListType(port.type), port.system) for name, port in found.items()}
            return {**lists, FAILED_PORT: Port(INTEGER)}
        return {**found, ITERATIONS_PORT: Port(INTEGER)} if node.kind is NodeKind.LOOP else found

    def outputs_of(self, body: Body) -> Ports:
        if body.workflow_version_id is not None:
            version = self.version(body.workflow_version_id)
            return {name: Port(port.type) for name, (_, _, port) in self.terminals(version).items()}
        return self._of_function(body, "outputs")

    def terminals(self, version: LoadedVersion) -> dict[str, tuple[int, str, Port]]:
        """What a run of a version gives: by name the place, port and type; `node.port` where several have one name."""
        given: dict[str, list[tuple[int, str, Port]]] = {}
        self.prefetch(version.layout.nodes[place] for place in version.layout.terminals)
        for place in version.layout.terminals:
            for name, port in self.outputs(version.layout.nodes[place]).items():
                given.setdefault(name, []).append((place, name, port))
        named = {}
        for name, ends in given.items():
            for end in ends:
                named[name if len(ends) == 1 else f"{version.layout.nodes[end[0]].key}.{name}"] = end
        return named

    def _of_function(self, body: Body, side: str) -> Ports:
        loaded = self.function(body.function_version_id) if body.function_version_id is not None else None
        if loaded is None:
            return {}
        return ports_of_function(getattr(loaded.function, side), loaded.system) or {}


def _value(node: Node) -> Ports:
    expression = node.input.type_expr if node.input is not None else node.type_expr
    return {INPUT_PORT: Port(parsed(expression))}


OWN_OUTPUTS: dict[NodeKind, Callable[[Node], Ports]] = {
    NodeKind.INPUT: _value,
    NodeKind.CONSTANT: _value,
    NodeKind.EXPRESSION: _value,
    NodeKind.ASSUME_UNIT: _value,
    NodeKind.APPROVAL: lambda _: {INPUT_PORT: Port(OBJECT), COMMENT_PORT: Port(STRING)},
    NodeKind.DELAY: lambda _: {INPUT_PORT: Port(OBJECT)},
}
