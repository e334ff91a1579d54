"""Workflows of every kind of node over the published paths, for tests of whole platforms."""

from collections.abc import Mapping
from typing import Any

import httpx2

from support.workflows.runs import edge, given

MANIFEST = """
version: "1"
package: {name: parts, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
functions:
  add:
    handler: parts:add
    inputs: {a: Float, b: Float}
    outputs: {sum: Float}
    resources: {tier: nano, timeout: 5}
  split:
    handler: parts:split
    inputs: {count: Integer}
    outputs: {parts: "list[Float]"}
    resources: {tier: nano, timeout: 5}
"""
ENDED = frozenset({"completed", "failed", "cancelled", "timeout"})


def workflow(client: httpx2.Client, slug: str, nodes: list[Any], edges: list[str]) -> dict[str, Any]:
    made = client.post("/workflows", json={"slug": slug, "name": slug, "organization_slug": "demo"})
    assert made.status_code == 201, made.text
    graph = {"nodes": nodes, "edges": [edge(written) for written in edges]}
    answer = client.post(f"/workflows/{slug}/versions", json=graph)
    assert answer.status_code == 201, answer.text
    version: dict[str, Any] = answer.json()
    return version


def every_kind(client: httpx2.Client, functions: Mapping[str, str]) -> str:
    """For n = 4: 0..3 each plus 1 are 10 together; and 1 are 11; 13 by the loop; twice that and 1 are 27."""
    body = {"function_version_id": functions["add"]}
    edges = ["x.value > f.a", "x.value > f.b"]
    inner = workflow(client, "twice", [given("x"), {"node_key": "f", **body}], edges)
    nodes = [
        given("n", "Integer"),
        {"node_key": "one", "node_kind": "constant", "value": 1.0, "type_expr": "Float"},
        {"node_key": "split", "function_version_id": functions["split"]},
        {"node_key": "each", "node_kind": "map", "over": ["a"], "parallel": 3, "body": body},
        {
            "node_key": "total", "node_kind": "expression", "expression": "sum(v)", "ports": {"v": "list[Float]"},
            "type_expr": "Float",
        },
        {
            "node_key": "choice", "node_kind": "if", "condition": "t > 5", "ports": {"t": "Float"}, "then": body,
            "else": None,
        },
        {
            "node_key": "grow", "node_kind": "loop", "body": body, "until": "sum >= 13", "max_iterations": 9,
            "feedback": {"sum": "a"},
        },
        {"node_key": "inner", "node_kind": "workflow", "workflow_version_id": inner["id"]},
        {"node_key": "last", **body},
    ]  # fmt: skip
    edges = [
        *("n.value > split.count", "split.parts > each.a", "one.value > each.b", "each.sum > total.v"),
        *("total.value > choice.t", "total.value > choice.a", "one.value > choice.b"),
        *("choice.sum > grow.a", "one.value > grow.b", "grow.sum > inner.x", "inner.sum > last.a"),
        "one.value > last.b",
    ]
    workflow(client, "every-kind", nodes, edges)
    return "every-kind"
