"""How two graphs differ: nodes and edges that came, went or changed, and versions that were raised."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mecapy_platform.core.workflows.documents.record import WorkflowDocument
from mecapy_platform.core.workflows.documents.scalars import flow
from mecapy_platform.core.workflows.documents.sources import written_source
from mecapy_platform.core.workflows.documents.writing import words_of, write_document


class ChangeKind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    VERSION = "version"


@dataclass(frozen=True)
class Change:
    """One difference. `subject`: a node, an edge, or the workflow; `field`: what of it, by the document's word."""

    kind: ChangeKind
    subject: str
    name: str
    field: str | None = None
    before: str | None = None
    after: str | None = None

    def as_text(self) -> str:
        sign = {ChangeKind.ADDED: "+", ChangeKind.REMOVED: "-"}.get(self.kind, "~")
        what = self.name if self.field is None else f"{self.name}: {self.field}"
        values = "" if self.field is None else f"  {self.before or '(none)'} -> {self.after or '(none)'}"
        told = f" {self.after or self.before}" if self.field is None and (self.after or self.before) else ""
        return f"{sign} {self.subject} {what}{values}{told}"


def are_same(first: WorkflowDocument, second: WorkflowDocument) -> bool:
    """Whether both describe one workflow: the order of nodes and edges, and what is as by default, do not count."""
    return write_document(_sorted(first)) == write_document(_sorted(second))


def _sorted(document: WorkflowDocument) -> WorkflowDocument:
    graph = dict(document.graph)
    graph["nodes"] = sorted(graph.get("nodes", ()), key=lambda node: str(node["node_key"]))
    graph["edges"] = sorted(graph.get("edges", ()), key=_edge_key)
    return replace(document, graph=graph)


def _edge_key(edge: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("target_node_key", "target_port", "alias", "source_node_key", "source_port")
    return tuple(str(edge.get(name) or "") for name in names)


def differences(before: WorkflowDocument, after: WorkflowDocument) -> list[Change]:
    """What leads from the first to the second. Where a node stands in the editor does not count."""
    return [*_head(before, after), *_nodes(before, after), *_edges(before, after)]


def _head(before: WorkflowDocument, after: WorkflowDocument) -> Iterator[Change]:
    pairs = {
        "name": (before.name, after.name),
        "description": (before.description or None, after.description or None),
        "on_failure": (before.graph.get("on_failure"), after.graph.get("on_failure")),
    }
    for field, (old, new) in pairs.items():
        if old != new:
            yield Change(ChangeKind.CHANGED, "workflow", after.slug, field, old, new)


def _by_key(document: WorkflowDocument) -> dict[str, Mapping[str, Any]]:
    return {node["node_key"]: node for node in document.graph.get("nodes", ())}


def _nodes(before: WorkflowDocument, after: WorkflowDocument) -> Iterator[Change]:
    old, new = _by_key(before), _by_key(after)
    for key, node in old.items():
        if key not in new:
            yield Change(ChangeKind.REMOVED, "node", key, before=_short(node))
    for key, node in new.items():
        if key not in old:
            yield Change(ChangeKind.ADDED, "node", key, after=_short(node))
        else:
            yield from _fields(key, flat(words_of(old[key])), flat(words_of(node)))


def flat(words: Any, name: str = "") -> dict[str, Any]:
    """Words of a node by dotted names, down to what is no mapping."""
    if not isinstance(words, Mapping):
        return {name: words}
    found: dict[str, Any] = {}
    for key, value in words.items():
        found |= flat(value, f"{name}.{key}" if name else str(key))
    return found


def _fields(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for field in {**old, **new}:
        first, second = old.get(field), new.get(field)
        if first == second:
            continue
        shown = [None if value is None else flow(value)[:200] for value in (first, second)]
        yield Change(_kind(first, second), "node", key, field, shown[0], shown[1])


def _kind(first: Any, second: Any) -> ChangeKind:
    """Another version of the same thing, or something else."""
    names = [str(value).rpartition("@")[0] for value in (first, second)]
    is_version = isinstance(first, str) and isinstance(second, str) and names[0] == names[1] != ""
    return ChangeKind.VERSION if is_version else ChangeKind.CHANGED


def _short(node: Mapping[str, Any]) -> str:
    return flow(words_of(node))[:200]


def _edges(before: WorkflowDocument, after: WorkflowDocument) -> Iterator[Change]:
    old, new = _edges_said(before), _edges_said(after)
    for text in sorted(old - new):
        yield Change(ChangeKind.REMOVED, "edge", text)
    for text in sorted(new - old):
        yield Change(ChangeKind.ADDED, "edge", text)


def _edges_said(document: WorkflowDocument) -> set[str]:
    keys = {node["node_key"] for node in document.graph.get("nodes", ())}
    return {_said(edge, keys) for edge in document.graph.get("edges", ())}


def _said(edge: Mapping[str, Any], keys: set[str]) -> str:
    alias = f"[{edge['alias']}]" if edge.get("alias") else ""
    source = written_source(edge["source_node_key"], edge["source_port"], keys)
    return f"{edge['target_node_key']}.{edge['target_port']}{alias} <- {source}"
