"""A whole platform moves a run of every kind of node on to its end: nobody ticks; eight that do change nothing."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, archive, deploy, platform
from support.workflows.runs import HANDLER, edge, given

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
ENDED = {"completed", "failed", "cancelled", "timeout"}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform() as started:
        yield started


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


def test_a_run_of_every_kind_of_node_ends_by_itself_and_ticks_change_nothing(running: Running) -> None:
    with running.client() as client:
        package = deploy(client, archive(MANIFEST, {"parts.py": HANDLER}), organization="demo")
        functions = {function["name"]: function["id"] for function in package["functions"]}
        slug = every_kind(client, functions)

        def ended(run_id: str) -> dict[str, Any] | None:
            run: dict[str, Any] = client.get(f"/workflow-runs/{run_id}").json()
            return run if run["status"] in ENDED else None

        def tick(run_id: str) -> int:
            with running.client() as other:
                return max(other.post(f"/workflow-runs/{run_id}/tick").status_code for _ in range(5))

        left_alone = client.post(f"/workflows/{slug}/runs", json={"inputs": {"n": 4}}).json()
        run = wait_for(lambda: ended(left_alone["id"]), "the run has ended", 60)
        assert (run["status"], run["terminal_outputs"]) == ("completed", {"last": {"sum": 27.0}}), run
        assert {state["status"] for state in run["node_states"].values()} == {"success"}
        assert run["node_states"].keys() == {"split", "last"}

        ticked = client.post(f"/workflows/{slug}/runs", json={"inputs": {"n": 4}}).json()
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(tick, [ticked["id"]] * 8)) == {200}
        run = wait_for(lambda: ended(ticked["id"]), "the ticked run has ended", 60)
        assert (run["status"], run["terminal_outputs"]) == ("completed", {"last": {"sum": 27.0}}), run


def test_a_failing_node_ends_its_run_with_its_message(running: Running) -> None:
    with running.client() as client:
        made = client.post("/workflows/every-kind/runs", json={"inputs": {"n": -1}}).json()

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = client.get(f"/workflow-runs/{made['id']}").json()
            return run if run["status"] in ENDED else None

        run = wait_for(ended, "the run has ended", 60)
        assert (run["status"], run["first_failed_node_key"]) == ("failed", "split")
        assert "less than nothing" in run["error_message"]
        assert run["node_states"]["last"]["status"] == "cancelled"
