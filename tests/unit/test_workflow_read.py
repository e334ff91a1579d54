"""The JSON of a graph becomes records and back, and what is wrong with it is said by node and field."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mecapy_platform.core.errors import InvalidInputError, Problem, TooLargeError
from mecapy_platform.core.workflows.graph import MAX_GRAPH_BYTES, Body, Case, Edge, ItemFailure, NodeKind, RetryRule
from mecapy_platform.core.workflows.json_form import as_json
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.core.workflows.read import check_size, graph_of, read_graph
from support.graphs import ID, JSON, UNHURRIED, documents, edge, function_node, input_node, node

BODY = {"function_version_id": str(ID)}


@UNHURRIED
@given(documents())
def test_a_graph_of_any_kind_is_read_and_written_alike(document: dict[str, Any]) -> None:
    graph = graph_of(document)
    assert graph_of(json.loads(json.dumps(as_json(graph)))) == graph
    assert [found["node_key"] for found in document["nodes"]] == list(graph.nodes)


@UNHURRIED
@given(st.fixed_dictionaries({"nodes": st.lists(JSON, max_size=4), "edges": st.lists(JSON, max_size=4)}) | JSON)
def test_json_of_any_shape_is_read_or_refused_by_name(document: object) -> None:
    problems: Sequence[GraphProblem | Problem]
    try:
        problems = read_graph(document).problems
    except InvalidInputError as error:
        problems = error.problems
    assert all(problem.code and problem.message for problem in problems)


@UNHURRIED
@given(documents(), st.data())
def test_a_field_of_any_value_is_read_or_refused_at_its_node(document: dict[str, Any], data: st.DataObject) -> None:
    if not document["nodes"]:
        return
    broken = data.draw(st.sampled_from(document["nodes"]))
    field = data.draw(st.sampled_from(sorted(set(broken) - {"node_key"})))
    broken[field] = data.draw(JSON)
    assert {problem.node for problem in read_graph(document).problems} <= {broken["node_key"]}


def test_published_nodes_and_edges_are_read_as_published() -> None:
    graph = graph_of(
        {
            "nodes": [
                {**function_node("beam"), "position_x": 10, "position_y": 20.5, "custom_label": "Beam"},
                {**input_node("span", {"L": "Length"}, required=False, default={"L": 2}), "function_version_id": None},
                {"node_key": "by default", "function_version_id": str(ID), "input_spec": None, "custom_label": None},
            ],
            "edges": [edge("span.value", "beam.load"), edge("beam.M", "by default.all", alias="first")],
        }
    )
    assert graph.nodes["beam"].cases == (Case(None, Body(function_version_id=ID)),)
    assert (graph.nodes["beam"].position, graph.nodes["beam"].label) == ((10.0, 20.5), "Beam")
    assert graph.nodes["by default"].kind is NodeKind.FUNCTION
    spec = graph.nodes["span"].input
    assert spec is not None
    assert (spec.type_expr, spec.required, spec.default) == ({"L": "Length"}, False, {"L": 2})
    assert graph.edges[1] == Edge("beam", "M", "by default", "all", "first")


def test_our_kinds_keep_what_they_say() -> None:
    graph = graph_of(
        {
            "nodes": [
                node("m", "map", body=BODY, over=["x"], parallel=4, on_item_failure="skip", retry={"max": 2}),
                node("i", "if", ports={"a": "Float"}, condition="a > 1", then=BODY),
                node("s", "switch", ports={}, cases=[{"when": "a > 1", "body": BODY}], default=None, after=["m"]),
                node("l", "loop", body=BODY, until="e < 1", max_iterations=9, feedback={"out": "in"}),
            ],
            "on_failure": "l",
        }
    )
    mapped, branch, switch, loop = graph.nodes.values()
    assert (mapped.over, mapped.parallel, mapped.on_item_failure) == (("x",), 4, ItemFailure.SKIP)
    assert mapped.retry == RetryRule(max=2)
    assert branch.cases == (Case("a > 1", Body(ID)), Case(None, None))
    assert switch.cases == (Case("a > 1", Body(ID)), Case(None, None))
    assert switch.after == ("m",)
    assert (loop.expression, loop.max_iterations, loop.feedback) == ("e < 1", 9, {"out": "in"})
    assert graph.on_failure == "l"


@pytest.mark.parametrize(
    ("given_node", "code", "path"),
    [
        ({"node_kind": "input"}, "bad_key", "nodes.0.node_key"),
        (function_node(""), "bad_key", "nodes.0.node_key"),
        (function_node("a/b"), "bad_key", "nodes.0.node_key"),
        (function_node("a\n"), "bad_key", "nodes.0.node_key"),
        (function_node("k" * 101), "bad_key", "nodes.0.node_key"),
        (node("n", "teapot"), "wrong_field", "nodes.n.node_kind"),
        (node("n", "function"), "missing_field", "nodes.n.function_version_id"),
        (function_node("n", "latest"), "unknown_function_version", "nodes.n.function_version_id"),
        (node("n", "workflow", workflow_version_id=7), "unknown_workflow_version", "nodes.n.workflow_version_id"),
        (node("n", "input"), "missing_field", "nodes.n.input_spec"),
        (input_node("n", 5), "wrong_field", "nodes.n.input_spec.type_expr"),
        (input_node("n", colour="red"), "unknown_field", "nodes.n.input_spec.colour"),
        (function_node("n", input_spec={"label": "x"}), "unknown_field", "nodes.n.input_spec"),
        (function_node("n", over=["x"]), "unknown_field", "nodes.n.over"),
        (function_node("n", position_x="left"), "wrong_field", "nodes.n.position_x"),
        (function_node("n", retry={"max": 21}), "wrong_field", "nodes.n.retry.max"),
        (function_node("n", retry={"on": ["rain"]}), "wrong_field", "nodes.n.retry.on"),
        (function_node("n", timeout_seconds=0), "wrong_field", "nodes.n.timeout_seconds"),
        (function_node("n", after=["a", "a"]), "wrong_field", "nodes.n.after"),
        (node("n", "constant", type_expr="Float"), "missing_field", "nodes.n.value"),
        (node("n", "map", over=["x"], body={}), "wrong_field", "nodes.n.body"),
        (node("n", "map", over=["x"], body=BODY | {"x": 1}), "unknown_field", "nodes.n.body.x"),
        (node("n", "map", body=BODY), "missing_field", "nodes.n.over"),
        (node("n", "map", body=BODY, over=["x"], parallel=0), "wrong_field", "nodes.n.parallel"),
        (node("n", "if", then=BODY), "missing_field", "nodes.n.condition"),
        (node("n", "if", condition="a", then=None), "missing_field", "nodes.n.then"),
        (node("n", "switch", cases=[]), "wrong_field", "nodes.n.cases"),
        (node("n", "switch", cases=[{"when": "a"}]), "missing_field", "nodes.n.cases.0.body"),
        (node("n", "loop", body=BODY, until="a", max_iterations=1001), "wrong_field", "nodes.n.max_iterations"),
        (node("n", "loop", body=BODY, until="a"), "missing_field", "nodes.n.max_iterations"),
        (node("n", "approval", role="owner"), "wrong_field", "nodes.n.role"),
        (node("n", "delay"), "missing_field", "nodes.n.seconds"),
    ],
)
def test_a_mistake_is_named_by_node_and_field(given_node: dict[str, Any], code: str, path: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        graph_of({"nodes": [given_node]})
    assert refused.value.code == "graph_invalid"
    assert [(problem.code, problem.path) for problem in refused.value.problems] == [(code, path)]


def test_every_mistake_is_said_at_once() -> None:
    document = {
        "nodes": [function_node("a"), function_node("a"), node("b", "delay"), 7],
        "edges": [edge("a.x", "b.y"), {"source_node_key": "a"}, edge("a.x", "b.y") | {"weight": 1}, []],
        "colour": "red",
    }
    found = [(problem.code, problem.path) for problem in read_graph(document).problems]
    assert found == [
        ("unknown_field", "colour"),
        ("duplicate_key", "nodes.a.node_key"),
        ("missing_field", "nodes.b.seconds"),
        ("wrong_field", "nodes.3"),
        ("missing_field", "edges.1.source_port"),
        ("missing_field", "edges.1.target_node_key"),
        ("missing_field", "edges.1.target_port"),
        ("unknown_field", "edges.2.weight"),
        ("wrong_field", "edges.3"),
    ]


def test_more_than_5000_nodes_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(TooLargeError, match="5001 nodes, the limit is 5,000"):
        read_graph({"nodes": [None] * 5_001})
    with pytest.raises(TooLargeError, match="50001 edges"):
        read_graph({"edges": [None] * 50_001})
    assert len(graph_of({"nodes": [function_node(f"n{index}") for index in range(5_000)]}).nodes) == 5_000


def test_the_expressions_of_a_graph_have_a_limit_in_all() -> None:
    """Those of expressions, of loops and of cases are counted together."""

    def graph(count: int) -> dict[str, Any]:
        nodes = [
            node(f"e{index}", "expression", expression="1" * 4_000, ports={}, type_expr="Float")
            for index in range(count)
        ]
        case = {"when": "1" * 2_000, "body": {"function_version_id": str(ID)}}
        return {"nodes": [*nodes, node("s", "switch", cases=[case], ports={})]}

    assert len(read_graph(graph(65)).graph.nodes) == 66
    with pytest.raises(TooLargeError, match="266,000 characters in all, the limit is 262,144"):
        read_graph(graph(66))


def test_a_graph_above_4_mib_is_refused() -> None:
    check_size(MAX_GRAPH_BYTES)
    with pytest.raises(TooLargeError, match="the limit is 4194304"):
        check_size(MAX_GRAPH_BYTES + 1)


@pytest.mark.parametrize("document", [None, [], "x", {"nodes": {}}, {"edges": "x"}])
def test_what_is_no_graph_is_refused(document: object) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read_graph(document)
    assert refused.value.code == "graph_invalid"
