"""A workflow as its document describes it: graph as JSON, in which functions and workflows stand by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FUNCTION_ID, WORKFLOW_ID = "function_version_id", "workflow_version_id"
BODIES = ("body", "then", "else", "default")


@dataclass(frozen=True)
class WorkflowDocument:
    """`graph`: {nodes, edges, on_failure} as the API takes it, but for names in the place of ids of versions."""

    slug: str
    name: str | None = None
    description: str | None = None
    graph: Mapping[str, Any] = field(default_factory=dict)


def references(graph: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names (or ids) of the functions and of the workflows that a graph refers to, each once."""
    found: dict[str, dict[str, None]] = {FUNCTION_ID: {}, WORKFLOW_ID: {}}
    for node in graph.get("nodes", ()):
        for holder in _holders(node):
            for key, names in found.items():
                if isinstance(holder.get(key), str):
                    names[holder[key]] = None
    return tuple(found[FUNCTION_ID]), tuple(found[WORKFLOW_ID])


def _holders(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The node and its bodies: all that may hold the id of a version."""
    yield node
    cases = node.get("cases")
    given = [node.get(name) for name in BODIES]
    if isinstance(cases, list | tuple):
        given += [case.get("body") for case in cases if isinstance(case, Mapping)]
    yield from (body for body in given if isinstance(body, Mapping))


def renamed(
    graph: Mapping[str, Any], functions: Callable[[str], str], workflows: Callable[[str], str]
) -> dict[str, Any]:
    """The same graph with other words for what it refers to: names for ids, or ids for names."""

    def changed(holder: Mapping[str, Any]) -> dict[str, Any]:
        new = dict(holder)
        for key, change in ((FUNCTION_ID, functions), (WORKFLOW_ID, workflows)):
            if isinstance(new.get(key), str):
                new[key] = change(new[key])
        return new

    return {**graph, "nodes": [_with_bodies(changed(node), changed) for node in graph.get("nodes", ())]}


def _with_bodies(node: dict[str, Any], changed: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    for name in BODIES:
        if isinstance(node.get(name), Mapping):
            node[name] = changed(node[name])
    if isinstance(node.get("cases"), list | tuple):
        node["cases"] = [
            {**case, "body": changed(case["body"])} if isinstance(case.get("body"), Mapping) else case
            for case in node["cases"]
        ]
    return node


def is_function_name(reference: str) -> bool:
    """owner/package:function@version; a workflow has no colon."""
    return ":" in reference
