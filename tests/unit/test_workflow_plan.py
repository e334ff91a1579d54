"""The plan of a run: chains, waves, and where inputs come from."""

from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mecapy_platform.core.workflows.cycles import circles, waits
from mecapy_platform.core.workflows.graph import Graph, NodeKind
from mecapy_platform.core.workflows.plan import plan_of, plan_snapshot
from mecapy_platform.core.workflows.read import graph_of
from support.graphs import UNHURRIED, documents, edge, function_node, input_node, node

STEEL, OTHER = UUID(int=1), UUID(int=2)
PACKAGES = {STEEL: UUID(int=11), OTHER: UUID(int=12)}


def chains(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> tuple[tuple[str, ...], ...]:
    return plan_of(graph_of({"nodes": nodes, "edges": edges}), PACKAGES).chains


def line(*keys: str, version_id: UUID = STEEL) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    nodes = [function_node(key, version_id) for key in keys]
    return nodes, [edge(f"{keys[place]}.y", f"{keys[place + 1]}.x") for place in range(len(keys) - 1)]


def test_a_line_of_one_package_version_is_one_chain() -> None:
    nodes, edges = line("a", "b", "c")
    assert chains([input_node("i"), *nodes], [edge("i.value", "a.x"), edge("i.value", "b.k"), *edges]) == (
        ("a", "b", "c"),
    )


def test_another_package_ends_a_chain() -> None:
    nodes, edges = line("a", "b", "c", "d")
    nodes[2] = function_node("c", OTHER)
    assert chains(nodes, edges) == (("a", "b"), ("c",), ("d",))


def test_a_fork_and_a_meeting_end_a_chain() -> None:
    nodes, edges = line("a", "b", "c", "d")
    fork = [function_node("e", STEEL), function_node("f", STEEL)]
    more = [edge("b.y", "e.x"), edge("e.y", "f.x"), edge("f.y", "d.k")]
    assert chains([*nodes, *fork], [*edges, *more]) == (("a", "b"), ("c",), ("d",), ("e", "f"))


def test_waiting_standing_in_and_other_kinds_end_a_chain() -> None:
    nodes, edges = line("a", "b", "c")
    waiting = [*nodes[:2], {**nodes[2], "after": ["b"]}]
    assert chains(waiting, edges) == (("a", "b"), ("c",))
    standing = [{**nodes[0], "fallback": "s"}, *nodes[1:], function_node("s", STEEL)]
    assert chains(standing, edges) == (("a",), ("b", "c"), ("s",))
    other = [nodes[0], node("b", "delay", seconds=1), nodes[2]]
    assert chains(other, edges) == (("a",), ("b",), ("c",))


def test_a_snapshot_shows_chains_waves_and_bindings_as_published() -> None:
    nodes = [
        input_node("i"),
        *line("a", "b")[0],
        function_node("c", OTHER),
        node("k", "constant", value=1, type_expr="Float"),
    ]
    edges = [
        *(edge("i.value", "a.x"), edge("a.y", "b.x"), edge("b.y", "c.x")),
        *(edge("k.value", "c.all", "k"), edge("i.value", "c.all", "i")),
    ]
    assert plan_snapshot(graph_of({"nodes": nodes, "edges": edges}), PACKAGES) == {
        "chains": [
            {
                "chain_id": "chain_0",
                "package_version_id": str(PACKAGES[STEEL]),
                "steps": [
                    {
                        "node_key": "a",
                        "node_kind": "function",
                        "function_version_id": str(STEEL),
                        "input_bindings": {"x": {"source": "input_node", "input_key": "i", "from_port": "value"}},
                    },
                    {
                        "node_key": "b",
                        "node_kind": "function",
                        "function_version_id": str(STEEL),
                        "input_bindings": {"x": {"source": "chain", "from_node_key": "a", "from_port": "y"}},
                    },
                ],
            },
            {
                "chain_id": "chain_1",
                "package_version_id": str(PACKAGES[OTHER]),
                "steps": [
                    {
                        "node_key": "c",
                        "node_kind": "function",
                        "function_version_id": str(OTHER),
                        "input_bindings": {
                            "x": {"source": "edge", "from_node_key": "b", "from_port": "y"},
                            "all": {
                                "source": "collected",
                                "entries": {
                                    "k": {"source": "edge", "from_node_key": "k", "from_port": "value"},
                                    "i": {"source": "input_node", "input_key": "i", "from_port": "value"},
                                },
                            },
                        },
                    }
                ],
            },
            {
                "chain_id": "chain_2",
                "package_version_id": None,
                "steps": [{"node_key": "k", "node_kind": "constant", "input_bindings": {}}],
            },
        ],
        "waves": [["chain_0", "chain_2"], ["chain_1"]],
    }


@UNHURRIED
@given(documents(), st.data())
def test_a_plan_holds_each_node_once_and_no_chain_before_what_it_needs(
    document: dict[str, Any], data: st.DataObject
) -> None:
    for found in document["nodes"]:
        if found["node_kind"] == "function":
            found["function_version_id"] = str(data.draw(st.sampled_from([STEEL, OTHER])))
    graph = graph_of(document)
    following = waits(graph)
    if circles(following):
        return
    plan = plan_of(graph, PACKAGES)
    keys = [key for chain in plan.chains for key in chain]
    assert sorted(keys) == sorted(key for key, found in graph.nodes.items() if found.kind is not NodeKind.INPUT)
    assert sorted(index for wave in plan.waves for index in wave) == list(range(len(plan.chains)))
    wave_of = {key: number for number, wave in enumerate(plan.waves) for index in wave for key in plan.chains[index]}
    chain_of = {key: index for index, chain in enumerate(plan.chains) for key in chain}
    for source, targets in following.items():
        for target in targets:
            if source in wave_of and target in wave_of and chain_of[source] != chain_of[target]:
                assert wave_of[source] < wave_of[target]
    for chain in plan.chains:
        _is_a_line(graph, following, chain)


def _is_a_line(graph: Graph, following: dict[str, list[str]], chain: tuple[str, ...]) -> None:
    bodies = [graph.nodes[key].body for key in chain]
    if len(chain) > 1:
        assert len({PACKAGES[body.function_version_id] for body in bodies if body and body.function_version_id}) == 1
    assert all(set(following[key]) == {chain[place + 1]} for place, key in enumerate(chain[:-1]))


def test_a_line_of_5000_nodes_is_one_chain() -> None:
    keys = [f"n{index}" for index in range(5_000)]
    assert chains(*line(*keys)) == (tuple(keys),)
