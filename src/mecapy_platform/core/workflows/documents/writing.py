"""Writes a workflow as one readable file: words in a fixed order, nodes in the order of the graph."""

from collections.abc import Mapping, Sequence
from typing import Any

from mecapy_platform.core.workflows.documents.forms import COMMON, FORMS, Shape, Word
from mecapy_platform.core.workflows.documents.record import FUNCTION_ID, WORKFLOW_ID, WorkflowDocument, is_function_name
from mecapy_platform.core.workflows.documents.scalars import block, text_of
from mecapy_platform.core.workflows.documents.sources import written_source
from mecapy_platform.core.workflows.graph import NodeKind

DEFAULTS: Mapping[str, Any] = {
    "required": True,
    "parallel": 16,
    "on_item_failure": "fail",
    "on_expiry": "reject",
    "role": "user",
}
EMPTY = frozenset({Shape.PORTS, Shape.NAMES, Shape.TEXTS})


def write_document(document: WorkflowDocument) -> str:
    """The text of a workflow's document. `read_document` reads it back to the same graph."""
    blocks = node_blocks(document)
    lines = [*head_lines(document), "nodes:" if blocks else "nodes: {}"]
    return "\n".join([*lines, *(line for block_lines in blocks.values() for line in block_lines)]) + "\n"


def head_lines(document: WorkflowDocument) -> list[str]:
    """What stands before the nodes."""
    description = (document.description or "").replace("\r\n", "\n") or None
    head = {"workflow": document.slug, "name": document.name, "description": description}
    head["on_failure"] = document.graph.get("on_failure")
    return [line for name, value in head.items() if value is not None for line in block(name, value, 0)]


def node_blocks(document: WorkflowDocument) -> dict[str, list[str]]:
    """The lines of each node, by its key, in the order of the graph."""
    nodes = document.graph.get("nodes", ())
    edges: dict[str, list[Mapping[str, Any]]] = {}
    for edge in document.graph.get("edges", ()):
        edges.setdefault(edge["target_node_key"], []).append(edge)
    keys = {node["node_key"] for node in nodes}
    return {node["node_key"]: node_lines(node, edges.get(node["node_key"], ()), keys) for node in nodes}


def node_lines(node: Mapping[str, Any], edges: Sequence[Mapping[str, Any]], keys: set[str]) -> list[str]:
    """One node with what feeds it."""
    words = {**words_of(node), "at": _position(node)}
    if edges:
        own, *rest = words.items()
        words = dict([own, ("from", _sources(edges, keys)), *rest])
    lines = [f"  {text_of(node['node_key'], in_flow=False)}:"]
    return lines + [line for name, value in words.items() if value is not None for line in block(name, value, 4)]


def words_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node by the words of its document, without what feeds it and where it stands."""
    form = FORMS[NodeKind(node.get("node_kind") or NodeKind.FUNCTION)]
    common = {word.name: node.get(word.field) for word in COMMON if word.name not in {"from", "at"}}
    return {form.name: own_words(node)} | {
        name: value for name, value in common.items() if value not in (None, {}, [], ())
    }


def own_words(node: Mapping[str, Any]) -> Any:
    """What stands under the word of its kind."""
    form = FORMS[NodeKind(node.get("node_kind") or NodeKind.FUNCTION)]
    given = node.get(form.within) or {} if form.within else node
    found: dict[str, Any] = {}
    for word in form.words:
        value = given.get(word.field)
        if word.name == "label" and value == node["node_key"]:
            continue
        is_default = value is None or value == DEFAULTS.get(word.name) or (not value and word.shape in EMPTY)
        if word.is_required or not is_default:
            found[word.name] = _value(word, value)
    short = form.short or ""
    return found[short] if set(found) == {short} and not isinstance(found[short], Mapping) else found


def _value(word: Word, value: Any) -> Any:
    if word.shape is Shape.BODY:
        return _body(value)
    if word.shape is Shape.CASES:
        return [{"when": case.get("when"), "body": _body(case.get("body"))} for case in value]
    return value


def _body(body: Mapping[str, Any] | None) -> Any:
    """By its name alone, where the name says what it is."""
    if body is None:
        return None
    function, workflow = body.get(FUNCTION_ID), body.get(WORKFLOW_ID)
    if function is not None:
        return function if is_function_name(function) else {"function": function}
    return workflow if workflow is not None and "@" in workflow else {"workflow": workflow}


def _sources(edges: Sequence[Mapping[str, Any]], keys: set[str]) -> dict[str, Any]:
    into: dict[str, list[Mapping[str, Any]]] = {}
    for edge in edges:
        into.setdefault(edge["target_port"], []).append(edge)
    return {port: _source(found, keys) for port, found in into.items()}


def _source(edges: list[Mapping[str, Any]], keys: set[str]) -> Any:
    """One source; several by their aliases; or a list, where not all have one."""
    written = [
        (edge.get("alias"), written_source(edge["source_node_key"], edge["source_port"], keys)) for edge in edges
    ]
    aliases = [alias for alias, _ in written]
    if aliases == [None]:
        return written[0][1]
    if None not in aliases and len(set(aliases)) == len(aliases):
        return {str(alias): source for alias, source in written}
    return [source if alias is None else {str(alias): source} for alias, source in written]


def _position(node: Mapping[str, Any]) -> list[Any] | None:
    position = [node.get("position_x") or 0, node.get("position_y") or 0]
    if position == [0, 0]:
        return None
    return [int(value) if float(value).is_integer() else value for value in position]
