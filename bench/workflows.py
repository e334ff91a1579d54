"""What a workflow costs beside plain calls: a chain of four nodes, the engine's CPU for a node, a map of many items.

Usage: python -m bench.workflows [--pairs N] [--nodes N] [--items N]

Times are the database's own, from the moment of the submit to the end, of runs and of plain calls alike.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bench import figures
from bench.processes import machine, used_by
from bench.running import Api, Platform, started

Say = Callable[..., None]
LAYERS = 20
NEVER = 2**62  # a change that does not come: what is waited for is the end
MANIFEST = """
version: "1"
package: {name: NAME, version: 1.0.0}
runtime: {kind: python, version: "%s"}
functions:
  step:
    handler: nonce:step
    inputs: {x: Integer}
    outputs: {y: Integer}
    resources: {tier: nano, timeout: 5}
  join:
    handler: nonce:join
    inputs: {x: Integer, z: Integer}
    outputs: {y: Integer}
    resources: {tier: nano, timeout: 5}
"""
CODE = "def step(x):\n    return {'y': x + 1}\n\n\ndef join(x, z):\n    return {'y': max(x, z) + 1}\n"
PACKAGES = ("one", "two", "three", "four")


def report(say: Say, platform: Platform, token: str, *, pairs: int = 60, nodes: int = 1000, items: int = 1000) -> None:
    api = Api(platform.ready["url"], token)
    for name in PACKAGES:
        api.deploy("flows", MANIFEST.replace("NAME", name), CODE)
    functions = {name: functions_of(api, name) for name in PACKAGES}
    chains(say, api, functions, pairs)
    layers(say, api, platform, functions["one"], nodes)
    map_of(say, api, platform, functions["one"], items)


def functions_of(api: Api, package: str) -> dict[str, str]:
    found = next(item for item in api.call("GET", "/packages")["packages"] if item["name"] == package)
    return {function["name"]: function["id"] for function in found["functions"]}


def chains(say: Say, api: Api, functions: dict[str, dict[str, str]], pairs: int) -> None:
    """In turns: a warm call, a chain of four nodes of one package version, a chain of four of four packages."""
    lines = {
        "chain of 4, one package": line_of(api, "line-one", [functions["one"]["step"]] * 4),
        "chain of 4, four packages": line_of(api, "line-four", [functions[name]["step"] for name in PACKAGES]),
    }
    times: dict[str, list[float]] = {name: [] for name in ("one warm call", *lines)}
    for number in range(-10, pairs):
        times["one warm call"].append(call(api, number))
        for name, slug in lines.items():
            times[name].append(run(api, slug, {"x": number}, {"n3": {"y": number + 4}}))
    for name, found in times.items():
        say(figures.line(f"{name}, submit to end", found[10:]))
    for name, target in (("chain of 4, one package", 1.6), ("chain of 4, four packages", 4.0)):
        ratio = figures.ratio(times[name][10:], times["one warm call"][10:])
        say(figures.said(f"ratio {name} / one warm call", ratio, target))


def line_of(api: Api, slug: str, function_ids: list[str]) -> str:
    nodes = [node(f"n{place}", function) for place, function in enumerate(function_ids)]
    edges = [edge("x", "value", "n0", "x")]
    edges += [edge(f"n{place}", "y", f"n{place + 1}", "x") for place in range(len(function_ids) - 1)]
    return workflow(api, slug, [given("x", "Integer"), *nodes], edges)


def layers(say: Say, api: Api, platform: Platform, functions: dict[str, str], count: int) -> None:
    """A graph in layers, each node of which reads two of the layer before; beside it as many plain tasks."""
    width = max(2, count // LAYERS)
    nodes = [given("x", "Integer")]
    edges = []
    for layer in range(LAYERS):
        for place in range(width):
            nodes.append(node(f"l{layer}_{place}", functions["join"]))
            for port, other in (("x", place), ("z", (place + 1) % width)):
                source, out = ("x", "value") if layer == 0 else (f"l{layer - 1}_{other}", "y")
                edges.append(edge(source, out, f"l{layer}_{place}", port))
    slug = workflow(api, "layers", nodes, edges)
    plain, plain_seconds = cpu_of(platform, lambda: bulk(api, width * LAYERS))
    whole, seconds = cpu_of(platform, lambda: run(api, slug, {"x": 0}, None))
    each = (whole - plain) / (width * LAYERS) * 1000
    verdict = "met" if each <= 3 else "missed"
    say(f"{width * LAYERS} nodes in {LAYERS} layers: {seconds:.2f} s, {whole:.2f} CPU s; as many plain tasks: "
        f"{plain_seconds:.2f} s, {plain:.2f} CPU s")  # fmt: skip
    say(f"{'engine, CPU a node (with its share of PostgreSQL)':<44} {each:6.2f} ms  target <= 3: {verdict}")


def map_of(say: Say, api: Api, platform: Platform, functions: dict[str, str], count: int) -> None:
    body = {"function_version_id": functions["step"]}
    mapped = {"node_key": "each", "node_kind": "map", "over": ["x"], "parallel": 64, "body": body}
    slug = workflow(api, "mapped", [given("v", "list[Integer]"), mapped], [edge("v", "value", "each", "x")])
    whole, seconds = cpu_of(platform, lambda: run(api, slug, {"v": list(range(count))}, None))
    rate, cost = count / seconds, whole / count * 1000
    say(f"map of {count} items, 64 at once: {seconds:.2f} s, {rate:.0f} items/s, {cost:.2f} CPU ms an item")


def cpu_of(platform: Platform, work: Callable[[], object]) -> tuple[float, float]:
    before, began = used_by(platform.process.pid).cpu_seconds, time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    threading.Event().wait(0.5)  # what is written behind the answer counts too
    return used_by(platform.process.pid).cpu_seconds - before, seconds


def bulk(api: Api, count: int) -> None:
    asked = [{"package": "one", "function": "join", "inputs": {"x": number, "z": 1}} for number in range(count)]
    made = []
    for first in range(0, count, 100):
        made += api.call("POST", "/tasks/bulk", {"tasks": asked[first : first + 100]})["results"]
    for item in made[-1:] + made:
        while api.call("GET", f"/tasks/{item['task']['id']}?wait=30")["state"] in {"queued", "running"}:
            pass


def call(api: Api, number: int) -> float:
    task = api.call("POST", "/tasks?wait=30", {"package": "one", "function": "step", "inputs": {"x": number}})
    if task["result"] != {"y": number + 1}:
        raise RuntimeError(f"wrong answer: {task}")
    return between(task)


def run(api: Api, slug: str, inputs: dict[str, Any], outputs: dict[str, Any] | None) -> float:
    run_id = api.call("POST", f"/workflows/{slug}/runs", {"inputs": inputs})["id"]
    while (found := api.call("GET", f"/runs/{run_id}?wait=30&change={NEVER}"))["completed_at"] is None:
        pass
    if found["state"] != "completed" or (outputs is not None and found["outputs"] != outputs):
        raise RuntimeError(f"wrong end: {found}")
    return between(found)


def between(answer: dict[str, Any]) -> float:
    moments = (datetime.fromisoformat(answer[name]) for name in ("created_at", "completed_at"))
    began, ended = moments
    return (ended - began).total_seconds()


def workflow(api: Api, slug: str, nodes: list[Any], edges: list[Any]) -> str:
    api.call("POST", "/workflows", {"slug": slug, "name": slug, "organization_slug": "flows"})
    api.call("POST", f"/workflows/{slug}/versions", {"nodes": nodes, "edges": edges})
    return slug


def given(key: str, kind: str) -> dict[str, Any]:
    return {"node_key": key, "node_kind": "input", "input_spec": {"label": key, "type_expr": kind}}


def node(key: str, function_id: str) -> dict[str, Any]:
    return {"node_key": key, "function_version_id": function_id}


def edge(source: str, source_port: str, target: str, target_port: str) -> dict[str, Any]:
    return {
        "source_node_key": source,
        "source_port": source_port,
        "target_node_key": target,
        "target_port": target_port,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--items", type=int, default=1000)
    asked = parser.parse_args()
    print(machine(), flush=True)
    with started() as platform:
        token = platform.token("engineer", "flows")
        say = lambda line="": print(line, flush=True)  # noqa: E731
        report(say, platform, token, pairs=asked.pairs, nodes=asked.nodes, items=asked.items)
    return 0


if __name__ == "__main__":
    sys.exit(main())
