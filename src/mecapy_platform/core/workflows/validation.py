"""Judges a graph as a whole, in the published categories and in ours. Linear in nodes and edges, without recursion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from mecapy_platform.core.workflows.cycles import circles, waits
from mecapy_platform.core.workflows.edge_rules import judge_edges
from mecapy_platform.core.workflows.expression_rules import judge_expressions
from mecapy_platform.core.workflows.graph import AT_ONCE, MAX_NESTING, Graph, Node, NodeKind
from mecapy_platform.core.workflows.ports import NodePorts, ports_of
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.core.workflows.signatures import Catalog, FunctionSignature, WorkflowSignature
from mecapy_platform.core.workflows.units import conversions, unit_warnings


class Category(StrEnum):
    """Keys of the report; those of the published platform first."""

    CYCLES = "cycles"
    UNCONNECTED = "unconnected_function_inputs"
    NODE_TYPES = "invalid_input_node_types"
    SUBTYPING = "subtyping_violations"
    DUPLICATES = "duplicate_target_ports"
    SOURCE_PORTS = "unknown_source_ports"
    TARGET_PORTS = "unknown_target_ports"
    NODES = "unknown_nodes"
    FUNCTIONS = "unknown_function_versions"
    UNTYPED = "functions_without_typed_ports"
    WORKFLOWS = "unknown_workflow_versions"
    NESTING = "nesting"
    BODIES = "bodies"
    EXPRESSIONS = "expressions"
    STAND_INS = "stand_ins"


CATEGORY_OF: Mapping[str, Category] = {
    "cycle": Category.CYCLES,
    "unconnected_input": Category.UNCONNECTED,
    "invalid_node_type": Category.NODE_TYPES,
    "invalid_node_value": Category.NODE_TYPES,
    "type_mismatch": Category.SUBTYPING,
    "unit_mismatch": Category.SUBTYPING,
    "duplicate_target_port": Category.DUPLICATES,
    "unknown_source_port": Category.SOURCE_PORTS,
    "unknown_target_port": Category.TARGET_PORTS,
    "unknown_node": Category.NODES,
    "unknown_function_version": Category.FUNCTIONS,
    "no_typed_ports": Category.UNTYPED,
    "unknown_workflow_version": Category.WORKFLOWS,
    "nesting_too_deep": Category.NESTING,
    "workflow_contains_itself": Category.NESTING,
    "unknown_map_port": Category.BODIES,
    "branches_differ": Category.BODIES,
    "wrong_feedback": Category.BODIES,
    "wrong_fallback": Category.STAND_INS,
    "wrong_on_failure": Category.STAND_INS,
}


@dataclass(frozen=True)
class Report:
    """What a validation found.

    `depth`: how many workflows lie in one another below this graph. `conversions`: edges on whose way numbers change.
    """

    problems: tuple[GraphProblem, ...]
    warnings: tuple[GraphProblem, ...]
    depth: int = 0
    conversions: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_valid(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Each category with what was found of it; an empty list where it holds."""
        form: dict[str, Any] = {"valid": self.is_valid, **{category.value: [] for category in Category}}
        for problem in self.problems:
            category = category_of(problem)
            shown = problem.details["nodes"] if category is Category.CYCLES else problem.as_dict()
            form[category.value].append(shown)
        warnings = [warning.as_dict() for warning in self.warnings]
        return {**form, "warnings": warnings, "conversions": [dict(change) for change in self.conversions]}


def category_of(problem: GraphProblem) -> Category:
    """Codes that stand in no table are those of core/expressions; a unit may also differ inside an expression."""
    is_inside = problem.code == "unit_mismatch" and problem.edge is None
    return Category.EXPRESSIONS if is_inside else CATEGORY_OF.get(problem.code, Category.EXPRESSIONS)


def validate(
    graph: Graph, catalog: Catalog, *, read: Sequence[GraphProblem] = (), workflow_id: UUID | None = None
) -> Report:
    """Judge a graph by what it names.

    Parameters
    ----------
    read : problems that were found while reading and belong into the report
    workflow_id : of the workflow whose version this shall be, which must not lie in itself
    """
    problems = list(read)
    ports = _all_ports(graph, catalog, problems)
    judge_edges(graph, ports, problems)
    judge_expressions(graph, ports, problems)
    _judge_names(graph, problems)
    for keys in circles(waits(graph)):
        message = f"These nodes wait for each other: {', '.join(keys[:20])}{', ..' if len(keys) > 20 else ''}."
        problems.append(GraphProblem("cycle", message, node=keys[0], details={"nodes": keys}))
    _judge_stand_ins(graph, ports, problems)
    depth = _judge_nesting(graph, catalog, workflow_id, problems)
    warnings = (*_warnings(graph, catalog), *unit_warnings(graph, ports))
    return Report(tuple(problems), warnings, depth, tuple(conversions(graph, ports)))


def _all_ports(graph: Graph, catalog: Catalog, problems: list[GraphProblem]) -> dict[str, NodePorts]:
    """Of each node. An id that was found to be none while reading is not told twice."""
    return {key: ports_of(node, catalog, problems) for key, node in graph.nodes.items()}


def _judge_names(graph: Graph, problems: list[GraphProblem]) -> None:
    named = [
        (node.key, field, key)
        for node in graph.nodes.values()
        for field, keys in (("after", node.after), ("fallback", (node.fallback,) if node.fallback else ()))
        for key in keys
    ]
    for node_key, field, key in named:
        if key not in graph.nodes:
            problems.append(GraphProblem("unknown_node", f"There is no node {key[:80]!r}.", node=node_key, field=field))
    if graph.on_failure is not None and graph.on_failure not in graph.nodes:
        message = f"There is no node {graph.on_failure[:80]!r}."
        problems.append(GraphProblem("unknown_node", message, field="on_failure"))


def _judge_stand_ins(graph: Graph, ports: Mapping[str, NodePorts], problems: list[GraphProblem]) -> None:
    sources: dict[str, set[str]] = {}
    for edge in graph.edges:
        sources.setdefault(edge.target, set()).add(edge.source)
    for node in graph.nodes.values():
        stand_in = graph.nodes.get(node.fallback or "")
        if stand_in is not None and (why := _bad_fallback(node, stand_in, ports, sources)) is not None:
            problems.append(GraphProblem("wrong_fallback", why, node=node.key, field="fallback"))
    last = graph.nodes.get(graph.on_failure or "")
    if last is None:
        return
    others = [key for key in sources.get(last.key, ()) if key in graph.nodes and graph.nodes[key].kind not in AT_ONCE]
    feeds = any(edge.source == last.key for edge in graph.edges)
    if last.kind is NodeKind.INPUT or others or last.after or feeds:
        message = (
            f"{last.key} starts when the run fails, so it depends on no other node but inputs, constants and "
            "expressions, and feeds none."
        )
        problems.append(GraphProblem("wrong_on_failure", message, node=last.key, field="on_failure"))


def _bad_fallback(
    node: Node, stand_in: Node, ports: Mapping[str, NodePorts], sources: Mapping[str, set[str]]
) -> str | None:
    if node.kind is NodeKind.INPUT or stand_in.kind is NodeKind.INPUT:
        return "Input nodes neither fail nor stand in for others."
    if node.key in sources.get(stand_in.key, ()) or node.key in stand_in.after:
        return f"{stand_in.key} stands in for {node.key} when it failed, so it cannot need it."
    wanted, given = ports[node.key].outputs, ports[stand_in.key].outputs
    if wanted is None or given is None:
        return None
    different = [name for name, port in wanted.items() if name not in given or given[name].type != port.type]
    if different:
        return f"{stand_in.key} gives other outputs than {node.key}: {', '.join(different[:10])}."
    return None


def _judge_nesting(graph: Graph, catalog: Catalog, workflow_id: UUID | None, problems: list[GraphProblem]) -> int:
    deepest = 0
    for node, field, found in _named_workflows(graph, catalog):
        deepest = max(deepest, found.depth + 1)
        if found.depth + 1 > MAX_NESTING:
            message = f"{found.name} makes {found.depth + 1} workflows in one another; the limit is {MAX_NESTING}."
            problems.append(GraphProblem("nesting_too_deep", message, node=node.key, field=field))
        if workflow_id is not None and (found.workflow_id == workflow_id or workflow_id in found.contains):
            message = f"{found.name} is, or contains, the workflow that this version belongs to."
            problems.append(GraphProblem("workflow_contains_itself", message, node=node.key, field=field))
    return deepest


def _named_workflows(graph: Graph, catalog: Catalog) -> Iterator[tuple[Node, str, WorkflowSignature]]:
    for node in graph.nodes.values():
        for case in node.cases:
            version_id = None if case.body is None else case.body.workflow_version_id
            if version_id is not None and version_id in catalog.workflows:
                field = "workflow_version_id" if node.kind is NodeKind.WORKFLOW else "body"
                yield node, field, catalog.workflows[version_id]


def _warnings(graph: Graph, catalog: Catalog) -> Iterator[GraphProblem]:
    for node in graph.nodes.values():
        for case in node.cases:
            if case.body is None:
                continue
            function = catalog.functions.get(case.body.function_version_id or UUID(int=0))
            workflow = catalog.workflows.get(case.body.workflow_version_id or UUID(int=0))
            if isinstance(function, FunctionSignature) and function.is_yanked:
                message = f"{function.name} was yanked: it goes on working, but its owner advises against it."
                yield GraphProblem("function_yanked", message, node=node.key)
            if isinstance(workflow, WorkflowSignature) and workflow.is_archived:
                yield GraphProblem("workflow_archived", f"{workflow.name} is archived.", node=node.key)
