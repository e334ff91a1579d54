"""A graph as text for a terminal: what is given, then node by node in the order in which they can start."""

from collections.abc import Iterator, Mapping
from typing import Any

from mecapy_platform.core.workflows.documents.forms import FORMS
from mecapy_platform.core.workflows.documents.record import WorkflowDocument
from mecapy_platform.core.workflows.documents.scalars import flow
from mecapy_platform.core.workflows.documents.sources import written_source
from mecapy_platform.core.workflows.documents.writing import own_words
from mecapy_platform.core.workflows.graph import NodeKind

WIDTH = 100


def as_text(document: WorkflowDocument, version: int | None = None) -> str:
    """Lines of the graph. Nodes of one step wait for nothing of each other; `*` marks nodes that feed no other."""
    nodes = {node["node_key"]: node for node in document.graph.get("nodes", ())}
    edges = list(document.graph.get("edges", ()))
    head = document.slug + (f" @{version}" if version is not None else "")
    lines = [f"{head}  {document.name or ''}".rstrip(), *([document.description] if document.description else [])]
    lines.append(f"{len(nodes)} nodes, {len(edges)} edges")
    known = set(nodes)
    feeding = {edge["source_node_key"] for edge in edges}
    into: dict[str, list[Mapping[str, Any]]] = {}
    for edge in edges:
        into.setdefault(edge["target_node_key"], []).append(edge)
    step = 0
    for keys in _steps(nodes, into):
        step += not all(_is_given(nodes[key]) for key in keys)
        lines += ["", f"step {step}" if step else "given"]
        for key in keys:
            mark = " " if key in feeding else "*"
            lines.append(_cut(f"{mark} {key}: {_said(nodes[key])}"))
            lines += [_cut(f"      {line}") for line in _fed(nodes[key], into.get(key, ()), known)]
    circle = _left(nodes, into)
    if circle:
        lines += ["", "these wait for each other: " + ", ".join(circle)]
    if document.graph.get("on_failure"):
        lines += ["", f"when the run fails: {document.graph['on_failure']}"]
    return "\n".join(lines) + "\n"


def _is_given(node: Mapping[str, Any]) -> bool:
    """Whether it is there from the start: inputs and constants."""
    return node.get("node_kind") in {NodeKind.INPUT, NodeKind.CONSTANT}


def _needs(node: Mapping[str, Any], edges: list[Mapping[str, Any]]) -> set[str]:
    return {edge["source_node_key"] for edge in edges} | set(node.get("after") or ())


def _steps(nodes: Mapping[str, Mapping[str, Any]], into: Mapping[str, list[Mapping[str, Any]]]) -> Iterator[list[str]]:
    """Keys by step: what is given first, then what needs nothing but what came before."""
    waits, feeds = _waits(nodes, into)
    given = [key for key, node in nodes.items() if _is_given(node) and not waits[key]]
    ready = [key for key in nodes if not waits[key] and not _is_given(nodes[key])]
    if given:
        yield given
        ready += _freed(given, waits, feeds)
    place = {key: index for index, key in enumerate(nodes)}
    while ready:
        ready = sorted(set(ready), key=place.__getitem__)
        yield ready
        ready = _freed(ready, waits, feeds)


def _waits(
    nodes: Mapping[str, Mapping[str, Any]], into: Mapping[str, list[Mapping[str, Any]]]
) -> tuple[dict[str, int], dict[str, list[str]]]:
    waits = dict.fromkeys(nodes, 0)
    feeds: dict[str, list[str]] = {key: [] for key in nodes}
    for key, node in nodes.items():
        for source in _needs(node, into.get(key, [])):
            if source in nodes:
                waits[key] += 1
                feeds[source].append(key)
    return waits, feeds


def _freed(done: list[str], waits: dict[str, int], feeds: Mapping[str, list[str]]) -> list[str]:
    freed = []
    for key in done:
        for target in feeds[key]:
            waits[target] -= 1
            if waits[target] == 0:
                freed.append(target)
    return freed


def _left(nodes: Mapping[str, Mapping[str, Any]], into: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
    shown = {key for step in _steps(nodes, into) for key in step}
    return [key for key in nodes if key not in shown]


def _said(node: Mapping[str, Any]) -> str:
    kind = NodeKind(node.get("node_kind") or NodeKind.FUNCTION)
    words = own_words(node)
    return str(words) if kind is NodeKind.FUNCTION else f"{FORMS[kind].name} {flow(words).strip('{}')}"


def _fed(node: Mapping[str, Any], edges: Any, keys: set[str]) -> Iterator[str]:
    for edge in edges:
        alias = f"[{edge['alias']}]" if edge.get("alias") else ""
        source = written_source(edge["source_node_key"], edge["source_port"], keys)
        yield f"{edge['target_port']}{alias} <- {source}"
    if node.get("after"):
        yield f"after {', '.join(node['after'])}"
    if node.get("fallback"):
        yield f"when it fails: {node['fallback']}"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 2] + ".."
