"""Reads the JSON of a version (nodes, edges) into the records of core/workflows/graph, with every problem of its form.

What the graph means (ports, types, cycles) is judged by core/workflows/validation, on what was read here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, TooLargeError
from mecapy_platform.core.json_text import bad_text
from mecapy_platform.core.workflows.graph import (
    MAX_GRAPH_BYTES,
    MAX_ITEMS,
    MAX_NODES,
    Body,
    Case,
    Edge,
    Graph,
    InputSpec,
    ItemFailure,
    Node,
    NodeKind,
    RetryRule,
)
from mecapy_platform.core.workflows.node_fields import MAX_TEXT, Fields
from mecapy_platform.core.workflows.problems import GraphProblem

MAX_KEY = 100
MAX_EDGES = 50_000
MAX_EXPRESSIONS = 256 << 10  # characters of all expressions of a graph
MAX_PROBLEMS = 200
MAX_SECONDS = 366 * 86_400.0
MAX_ITERATIONS = 1_000
MAX_CASES = 100
RETRY_ON = ("user_error", "timeout", "out_of_memory", "lost_machine")
APPROVERS = ("admin", "user")
GRAPH_FIELDS = ("nodes", "edges", "on_failure")
EDGE_FIELDS = ("source_node_key", "source_port", "target_node_key", "target_port", "alias")
EVERY_NODE = (
    *("node_key", "node_kind", "position_x", "position_y", "custom_label"),
    *("after", "retry", "timeout_seconds", "fallback"),
)
OWN_FIELDS: Mapping[NodeKind, tuple[str, ...]] = {
    NodeKind.FUNCTION: ("function_version_id",),
    NodeKind.INPUT: ("input_spec",),
    NodeKind.CONSTANT: ("value", "type_expr"),
    NodeKind.EXPRESSION: ("expression", "ports", "type_expr"),
    NodeKind.ASSUME_UNIT: ("type_expr",),
    NodeKind.WORKFLOW: ("workflow_version_id",),
    NodeKind.MAP: ("body", "over", "parallel", "on_item_failure"),
    NodeKind.IF: ("ports", "condition", "then", "else"),
    NodeKind.SWITCH: ("ports", "cases", "default"),
    NodeKind.LOOP: ("body", "until", "max_iterations", "feedback"),
    NodeKind.APPROVAL: ("role", "message", "deadline_seconds", "on_expiry"),
    NodeKind.DELAY: ("seconds",),
}


@dataclass(frozen=True)
class ReadGraph:
    """What could be read, and what is wrong with the form of the rest."""

    graph: Graph
    problems: tuple[GraphProblem, ...]


def read_graph(document: object) -> ReadGraph:
    """Read nodes and edges; a node or edge that cannot be read is left out and named in the problems.

    Raises
    ------
    TooLargeError
        "graph_too_large" above 5,000 nodes or 50,000 edges, before anything of them is looked at; or for expressions
        of more than 256 KiB in all.
    InvalidInputError
        "graph_invalid" for what has no nodes and edges at all.
    """
    given, nodes, edges = _parts(document)
    problems: list[GraphProblem] = []
    Fields(given, problems).only(GRAPH_FIELDS, "A graph")
    read: dict[str, Node] = {}
    for index, node in enumerate(nodes):
        _node(node, index, read, problems)
    _check_expressions(read.values())
    found = [_edge(edge, index, problems) for index, edge in enumerate(edges)]
    on_failure = Fields(given, problems).text("on_failure", needed=False)
    return ReadGraph(Graph(read, tuple(edge for edge in found if edge is not None), on_failure), tuple(problems))


def graph_of(document: object) -> Graph:
    """As read_graph, for what must be right: raises InvalidInputError "graph_invalid" with every problem."""
    read = read_graph(document)
    if read.problems:
        raise refused(read.problems)
    return read.graph


def refused(problems: Sequence[GraphProblem]) -> InvalidInputError:
    """The error that lists them, up to a number that a person reads."""
    shown = [problem.as_problem() for problem in problems[:MAX_PROBLEMS]]
    message = f"The graph has {len(problems)} mistakes; see the list." if len(problems) > 1 else problems[0].message
    return InvalidInputError("graph_invalid", message, problems=shown)


def check_size(size_bytes: int) -> None:
    """Of the graph as JSON text. Raises TooLargeError "graph_too_large"."""
    if size_bytes > MAX_GRAPH_BYTES:
        raise TooLargeError(
            "graph_too_large",
            f"The graph has {size_bytes} bytes, the limit is {MAX_GRAPH_BYTES}. Keep large values in files or inputs.",
        )


def _check_expressions(nodes: Iterable[Node]) -> None:
    """Judging an expression takes time that grows with its length: all of them together have a limit too."""
    total = sum(len(text) for node in nodes for text in (node.expression, *(case.when for case in node.cases)) if text)
    if total > MAX_EXPRESSIONS:
        message = (
            f"The expressions of the graph have {total:,} characters in all, the limit is {MAX_EXPRESSIONS:,}. "
            "Compute in functions what needs more."
        )
        raise TooLargeError("graph_too_large", message)


def _parts(document: object) -> tuple[Mapping[str, Any], Sequence[Any], Sequence[Any]]:
    given = document if isinstance(document, Mapping) else {}
    nodes, edges = (given.get(name, ()) for name in ("nodes", "edges"))
    if given is not document or not isinstance(nodes, list | tuple) or not isinstance(edges, list | tuple):
        raise refused([GraphProblem("graph_invalid", "A graph is an object with lists of `nodes` and `edges`.")])
    for what, found, most in (("nodes", nodes, MAX_NODES), ("edges", edges, MAX_EDGES)):
        if len(found) > most:
            message = (
                f"The graph has {len(found)} {what}, the limit is {most:,}. Make parts of it workflows of their own."
            )
            raise TooLargeError("graph_too_large", message)
    return given, nodes, edges


def _node(given: object, index: int, read: dict[str, Node], problems: list[GraphProblem]) -> None:
    if not isinstance(given, Mapping):
        problems.append(GraphProblem("wrong_field", "A node is an object.", node=str(index)))
        return
    key = given.get("node_key")
    if (why := bad_key(key)) is not None:
        shown = f"{str(key)[:80]!r} is no node_key" if key is not None else "A node needs a node_key"
        problems.append(GraphProblem("bad_key", f"{shown}: {why}.", node=str(index), field="node_key"))
        return
    fields = Fields(given, problems, node=str(key))
    kind = fields.choice("node_kind", tuple(NodeKind), None) if fields.has("node_kind") else NodeKind.FUNCTION
    if key in read:
        fields.problem("node_key", "duplicate_key", f"There are several nodes with the key {key!r}; keys must differ.")
        return
    if kind is None:
        return
    node_kind = NodeKind(kind)
    fields.only((*EVERY_NODE, *OWN_FIELDS[node_kind]), f"A node of the kind {node_kind}")
    read[str(key)] = Node(
        key=str(key),
        kind=node_kind,
        **_common(fields),
        **_OWN[node_kind](fields),
    )


def bad_key(key: object) -> str | None:
    """Why this is no key of a node, or None."""
    if not isinstance(key, str) or not key:
        return "it is a text that differs from the other nodes'"
    if len(key) > MAX_KEY:
        return f"it has more than {MAX_KEY} characters"
    if bad_text(key) or not key.isprintable() or key != key.strip() or "/" in key or "\\" in key:
        return "it has printable characters, no slashes, and no spaces at its ends"
    return None


def _common(fields: Fields) -> dict[str, Any]:
    return {
        "position": (
            fields.number("position_x", -1e9, 1e9, 0.0),
            fields.number("position_y", -1e9, 1e9, 0.0),
        ),
        "label": fields.text("custom_label", needed=False) if fields.raw("custom_label") != "" else "",
        "after": fields.names("after"),
        "retry": _retry(fields),
        "timeout_seconds": fields.number("timeout_seconds", 0.001, MAX_SECONDS, None),
        "fallback": fields.text("fallback", needed=False),
    }


def _retry(fields: Fields) -> RetryRule:
    given = fields.mapping("retry")
    inner = fields.within("retry", given)
    inner.only(("max", "backoff_seconds", "jitter", "on"), "retry")
    default = RetryRule()
    kinds = inner.names("on")
    for kind in kinds:
        if kind not in RETRY_ON:
            inner.problem("on", "wrong_field", f"{kind[:80]!r} is no kind of failure; there are {', '.join(RETRY_ON)}.")
    return RetryRule(
        inner.whole("max", 0, 20, default.max) or 0,
        inner.number("backoff_seconds", 0, 3600, default.backoff_seconds) or 0.0,
        inner.number("jitter", 0, 1, default.jitter) or 0.0,
        tuple(kind for kind in kinds if kind in RETRY_ON) or default.on,
    )


def _function(fields: Fields) -> dict[str, Any]:
    return {"cases": (Case(None, Body(function_version_id=fields.function_version())),)}


def _workflow(fields: Fields) -> dict[str, Any]:
    return {"cases": (Case(None, Body(workflow_version_id=fields.workflow_version())),)}


def _input(fields: Fields) -> dict[str, Any]:
    given = fields.mapping("input_spec")
    if not given:
        fields.problem("input_spec", "missing_field", "An input node needs input_spec {label, type_expr}.")
        return {}
    inner = fields.within("input_spec", given)
    inner.only(("label", "type_expr", "description", "required", "default"), "input_spec")
    description = inner.raw("description")
    spec = InputSpec(
        inner.text("label", most=100) or "",
        _type(inner),
        inner.text("description", most=1_000) if description else description,
        inner.flag("required", default=True),
        inner.raw("default"),
    )
    return {"input": spec}


def _type(fields: Fields) -> Any:
    """As it was given: what it means is judged by the validation, which says so in its own category."""
    value = fields.raw("type_expr")
    if not isinstance(value, str | Mapping):
        code = "missing_field" if value is None else "wrong_field"
        fields.problem("type_expr", code, "type_expr must be a type such as Length, or an object of fields and types.")
        return ""
    return value


def _constant(fields: Fields) -> dict[str, Any]:
    if not fields.has("value"):
        fields.problem("value", "missing_field", "A constant needs a value.")
    return {"value": fields.raw("value"), "type_expr": _type(fields)}


def _expression(fields: Fields) -> dict[str, Any]:
    text = fields.text("expression", most=MAX_TEXT)
    return {"expression": text, "ports": fields.mapping("ports"), "type_expr": _type(fields)}


def _assume_unit(fields: Fields) -> dict[str, Any]:
    return {"type_expr": _type(fields)}


def _map(fields: Fields) -> dict[str, Any]:
    return {
        "cases": (Case(None, fields.body("body")),),
        "over": fields.names("over", needed=True),
        "parallel": fields.whole("parallel", 1, MAX_ITEMS, 16),
        "on_item_failure": ItemFailure(fields.choice("on_item_failure", tuple(ItemFailure), "fail") or "fail"),
    }


def _if(fields: Fields) -> dict[str, Any]:
    condition = fields.text("condition", most=MAX_TEXT)
    then, otherwise = fields.body("then"), fields.body("else", needed=False)
    return {"cases": (Case(condition or "", then), Case(None, otherwise)), "ports": fields.mapping("ports")}


def _switch(fields: Fields) -> dict[str, Any]:
    given = fields.raw("cases")
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MAX_CASES:
        fields.problem("cases", "wrong_field", f"cases must be a list of 1 to {MAX_CASES} objects {{when, body}}.")
        given = ()
    cases = []
    for index, case in enumerate(given):
        inner = fields.within(f"cases.{index}", case if isinstance(case, Mapping) else {})
        inner.only(("when", "body"), "A case")
        cases.append(Case(inner.text("when", most=MAX_TEXT) or "", inner.body("body")))
    cases.append(Case(None, fields.body("default", needed=False)))
    return {"cases": tuple(cases), "ports": fields.mapping("ports")}


def _loop(fields: Fields) -> dict[str, Any]:
    feedback = fields.mapping("feedback")
    if not all(isinstance(port, str) and port for port in feedback.values()):
        fields.problem("feedback", "wrong_field", "feedback must name an input port for each output port.")
        feedback = {}
    return {
        "cases": (Case(None, fields.body("body")),),
        "expression": fields.text("until", most=MAX_TEXT),
        "max_iterations": fields.whole("max_iterations", 1, MAX_ITERATIONS, None) or 0,
        "feedback": feedback,
    }


def _approval(fields: Fields) -> dict[str, Any]:
    return {
        "role": fields.choice("role", APPROVERS, "user"),
        "message": fields.text("message", needed=False, most=MAX_TEXT),
        "deadline_seconds": fields.number("deadline_seconds", 1, MAX_SECONDS, None),
        "on_expiry": fields.choice("on_expiry", ("reject", "approve"), "reject"),
    }


def _delay(fields: Fields) -> dict[str, Any]:
    if not fields.has("seconds"):
        fields.problem("seconds", "missing_field", "A delay needs its seconds.")
    return {"delay_seconds": fields.number("seconds", 0, MAX_SECONDS, 0.0)}


_OWN = {
    NodeKind.FUNCTION: _function,
    NodeKind.INPUT: _input,
    NodeKind.CONSTANT: _constant,
    NodeKind.EXPRESSION: _expression,
    NodeKind.ASSUME_UNIT: _assume_unit,
    NodeKind.WORKFLOW: _workflow,
    NodeKind.MAP: _map,
    NodeKind.IF: _if,
    NodeKind.SWITCH: _switch,
    NodeKind.LOOP: _loop,
    NodeKind.APPROVAL: _approval,
    NodeKind.DELAY: _delay,
}


def _edge(given: object, index: int, problems: list[GraphProblem]) -> Edge | None:
    if not isinstance(given, Mapping):
        problems.append(GraphProblem("wrong_field", "An edge is an object.", edge=index))
        return None
    fields = Fields(given, problems, edge=index)
    fields.only(EDGE_FIELDS, "An edge")
    ends = [fields.text(name) for name in EDGE_FIELDS[:4]]
    alias = fields.text("alias", needed=False) if fields.raw("alias") != "" else None
    if None in ends:
        return None
    source, source_port, target, target_port = (end or "" for end in ends)
    return Edge(source, source_port, target, target_port, alias)
