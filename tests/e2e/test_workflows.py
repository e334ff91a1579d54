"""Workflows over packages whose units differ, on a whole platform: numbers change at each border, and it is said."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from support import factories
from support.graphs import edge, function_node, input_node, node
from support.platform.embedded_process import wait_for
from support.platform.running_platform import archive, deploy, platform

Json = dict[str, Any]
BEAMS = """
version: "1"
package: {name: beams, version: 1.0.0, visibility: internal}
runtime: {kind: python, version: "3.11"}
platform: {units: mm-N-MPa}
functions:
  bending:
    handler: beams:bending
    inputs: {load: Force, span: Length, height: Length}
    outputs: {stress: Stress, seen: Float}
    resources: {tier: nano, timeout: 20}
"""
BEAMS_CODE = '''
def bending(load, span, height):
    """A beam of square section on two supports, in newtons and millimetres."""
    return {"stress": load * span / 4 / (height**3 / 6), "seen": span}
'''
MARGINS = """
version: "1"
package: {name: margins, version: 1.0.0, visibility: internal}
runtime: {kind: python, version: "3.11"}
functions:
  margin:
    handler: margins:margin
    inputs: {stress: Stress, strength: Stress}
    outputs: {margin: Float}
    resources: {tier: nano, timeout: 20}
  heights:
    handler: margins:heights
    inputs: {margin: Float}
    outputs: {heights: "list[Length]"}
    resources: {tier: nano, timeout: 20}
"""
MARGINS_CODE = """
def margin(stress, strength):
    return {"margin": 1 - stress / strength}

def heights(margin):
    return {"heights": [0.05, 0.1, 0.2]}
"""


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with platform() as running, running.client() as client:
        deploy(client, archive(BEAMS, {"beams.py": BEAMS_CODE}), organization="demo")
        deploy(client, archive(MARGINS, {"margins.py": MARGINS_CODE}), organization="demo")
        yield client


def ids(http: httpx2.Client) -> dict[str, str]:
    packages = http.get("/packages").json()["packages"]
    return {function["name"]: function["id"] for package in packages for function in package["functions"]}


def save(http: httpx2.Client, nodes: list[Json], edges: list[Json], **more: Any) -> Json:
    slug = factories.unique("w")
    made = http.post("/workflows", json={"slug": slug, "name": slug, "organization_slug": "demo"})
    assert made.status_code == 201, made.text
    saved = http.post(f"/workflows/{slug}/versions", json={"nodes": nodes, "edges": edges, **more})
    assert saved.status_code == 201, saved.text
    return {"slug": slug, "version_id": saved.json()["id"]}


def run(http: httpx2.Client, workflow: Json, inputs: Json) -> Json:
    """As the published client does it, but that it looks and never ticks."""
    found = http.get("/registry/lookup/workflow", params={"owner": "demo", "slug": workflow["slug"]}).json()
    started = http.post(f"/workflows/{found['workflow_id']}/runs", json={"inputs": inputs})
    assert started.status_code == 201, started.text
    url = f"/workflow-runs/{started.json()['id']}"

    def look() -> Json | None:
        found: Json = http.get(url).json()
        return found if found["status"] in {"completed", "failed", "cancelled", "timeout"} else None

    ended: Json = wait_for(look, "the end of the run", 60)
    return ended


def checked(http: httpx2.Client) -> tuple[list[Json], list[Json]]:
    """A beam and its margin: two packages, whose units differ."""
    functions = ids(http)
    nodes = [
        *(input_node("load", "Force"), input_node("span", "Length"), input_node("height", "Length")),
        input_node("strength", "Stress", required=False, default="235 MPa"),
        function_node("bending", functions["bending"]),
        function_node("margin", functions["margin"]),
    ]
    edges = [
        *(edge(f"{key}.value", f"bending.{key}") for key in ("load", "span", "height")),
        *(edge("bending.stress", "margin.stress"), edge("strength.value", "margin.strength")),
    ]
    return nodes, edges


def test_a_run_goes_to_its_end_by_itself_and_units_change_between_packages(http: httpx2.Client) -> None:
    ended = run(http, save(http, *checked(http)), {"load": "4 kN", "span": "3 m", "height": "100 mm"})
    assert ended["status"] == "completed", ended
    stress = 4000 * 3000 / 4 / (100**3 / 6)
    assert ended["terminal_outputs"] == {"margin": {"margin": pytest.approx(1 - stress / 235)}}
    assert ended["node_states"]["bending"]["outputs"] == {"stress": pytest.approx(stress), "seen": pytest.approx(3000)}
    assert ended["units"] == {"bending": "mm-N-MPa"}


def test_maps_conditions_and_workflows_in_workflows_run_too(http: httpx2.Client) -> None:
    inner, functions = save(http, *checked(http)), ids(http)
    nodes = [
        *(input_node("load", "Force"), input_node("span", "Length")),
        node("start", "constant", value=0.0, type_expr="Float"),
        function_node("heights", functions["heights"]),
        node("all", "map", body={"workflow_version_id": inner["version_id"]}, over=["height"]),
        node("best", "expression", expression="max(m)", ports={"m": "list[Float]"}, type_expr="Float"),
        node(
            "again",
            "if",
            ports={"best": "Float"},
            condition="best < 0",
            then={"function_version_id": functions["heights"]},
        ),
    ]
    edges = [
        edge("start.value", "heights.margin"),
        *(edge("load.value", "all.load"), edge("span.value", "all.span"), edge("heights.heights", "all.height")),
        *(edge("all.margin", "best.m"), edge("best.value", "again.best"), edge("best.value", "again.margin")),
    ]
    ended = run(http, save(http, nodes, edges), {"load": "4 kN", "span": "3 m"})
    assert ended["status"] == "completed", ended
    margins = [1 - 4000 * 3000 / 4 / (height**3 / 6) / 235 for height in (50, 100, 200)]
    others = ended["other_nodes"]
    assert others["all"]["outputs"]["margin"] == pytest.approx(margins)
    assert others["best"]["outputs"] == {"value": pytest.approx(max(margins))}
    assert others["again"]["state"] == "skipped"
