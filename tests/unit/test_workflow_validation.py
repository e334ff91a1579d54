"""What the report of a graph says: each rule by its category, and that large graphs are judged in one pass."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given

from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.graph import NodeKind
from mecapy_platform.core.workflows.ports import ports_of, workflow_ports
from mecapy_platform.core.workflows.read import graph_of, read_graph
from mecapy_platform.core.workflows.signatures import (
    Catalog,
    FunctionSignature,
    Port,
    WorkflowSignature,
    parsed,
    ports_of_function,
)
from mecapy_platform.core.workflows.validation import Category, validate
from support.graphs import UNHURRIED, documents, edge, function_node, input_node, node

F, G, MM, UNTYPED, PAIR, OBJECTS, OPTIONAL = (UUID(int=number) for number in range(101, 108))
W = UUID(int=201)
PACKAGE = UUID(int=301)


def signature(
    version_id: UUID,
    inputs: Mapping[str, str] | None,
    outputs: Mapping[str, str] | None,
    system: UnitSystem = UnitSystem.SI,
    **more: Any,
) -> FunctionSignature:
    stored = [
        None
        if side is None
        else {name: {"type": kind, "required": not kind.endswith("?")} for name, kind in side.items()}
        for side in (inputs, outputs)
    ]
    for side in stored:
        for port in (side or {}).values():
            port["type"] = str(port["type"]).rstrip("?")
    read = [ports_of_function(side, system) for side in stored]
    return FunctionSignature(version_id, f"acme/steel:f{version_id.int}@1.0", PACKAGE, read[0], read[1], **more)


FUNCTIONS = [
    signature(F, {"x": "Force"}, {"y": "Stress"}),
    signature(G, {"s": "Stress"}, {"y": "Stress"}),
    signature(MM, {"l": "Length"}, {"l": "Length"}, UnitSystem.MM_N_MPA),
    signature(UNTYPED, None, None, reason="it is still being built"),
    signature(PAIR, {"a": "Float", "b": "Float"}, {"sum": "Float"}, is_yanked=True),
    signature(OBJECTS, {"all": "Object", "lengths": "dict[str, Length]"}, {"n": "Integer"}),
    signature(OPTIONAL, {"a": "Float", "k": "Float?"}, {"y": "Stress"}),
]


def workflow(depth: int = 0, contains: frozenset[UUID] = frozenset(), **more: Any) -> WorkflowSignature:
    ports = {"x": Port(parsed("Force"))}
    return WorkflowSignature(
        W, "acme/check@3", UUID(int=401), ports, {"y": Port(parsed("Stress"))}, depth, contains, **more
    )


CATALOG = Catalog({item.id: item for item in FUNCTIONS}, {W: workflow()})


def report(nodes: list[dict[str, Any]], edges: list[dict[str, Any]] = [], **more: Any) -> dict[str, Any]:  # noqa: B006
    """The report, without the categories of which nothing was found."""
    catalog = more.pop("catalog", CATALOG)
    workflow_id = more.pop("workflow_id", None)
    read = read_graph({"nodes": nodes, "edges": edges, **more})
    found = validate(read.graph, catalog, read=read.problems, workflow_id=workflow_id).as_dict()
    return {name: value for name, value in found.items() if value != []}


def body(version_id: UUID) -> dict[str, str]:
    return {"workflow_version_id" if version_id == W else "function_version_id": str(version_id)}


def ends(problem: dict[str, Any]) -> str:
    return "{source_node_key}.{source_port} -> {target_node_key}.{target_port}".format(**problem)


def test_a_graph_that_holds_has_an_empty_report() -> None:
    nodes = [input_node("load", "Force"), function_node("f", F), function_node("g", G)]
    edges = [edge("load.value", "f.x"), edge("f.y", "g.s")]
    assert report(nodes, edges) == {"valid": True}
    whole = validate(graph_of({"nodes": nodes, "edges": edges}), CATALOG).as_dict()
    assert set(whole) == {"valid", "warnings", "conversions", *(category.value for category in Category)}


def test_circles_are_listed_by_their_nodes() -> None:
    nodes = [function_node(key, G) for key in ("a", "b", "c", "d", "e")]
    edges = [edge("a.y", "b.s"), edge("b.y", "a.s"), edge("b.y", "c.s"), edge("d.y", "d.s"), edge("c.y", "e.s")]
    assert report(nodes, edges) == {"valid": False, "cycles": [["a", "b"], ["d"]]}


def test_waiting_without_a_value_and_standing_in_make_circles_too() -> None:
    nodes = [
        input_node("i", "Stress"),
        function_node("a", G, after=["b"]),
        function_node("b", G),
        function_node("c", G, fallback="d"),
        function_node("d", G),
        function_node("e", G),
    ]
    edges = [edge("a.y", "b.s"), *(edge("i.value", f"{key}.s") for key in "ac"), edge("c.y", "e.s"), edge("e.y", "d.s")]
    assert report(nodes, edges)["cycles"] == [["a", "b"], ["d", "e"]]


def test_every_input_of_a_function_node_needs_an_edge_as_published() -> None:
    found = report([function_node("f", OPTIONAL)])["unconnected_function_inputs"]
    assert [(item["node_key"], item["port"]) for item in found] == [("f", "a"), ("f", "k")]


def test_our_kinds_need_an_edge_where_an_input_is_required() -> None:
    found = report([node("m", "map", body=body(OPTIONAL), over=["a"]), node("d", "delay", seconds=1)])
    assert [(item["node_key"], item["port"]) for item in found["unconnected_function_inputs"]] == [("m", "a")]


@pytest.mark.parametrize(
    ("given_node", "field"),
    [
        (input_node("n", "Colour"), "input_spec.type_expr"),
        (input_node("n", {"F": "Force", "x": "list["}), "input_spec.type_expr"),
        (input_node("n", "Float", default="red"), "input_spec.default"),
        (input_node("n", "File", default="red"), "input_spec.default"),
        (node("n", "constant", value="3 kg", type_expr="Length"), "value"),
        (node("n", "constant", value=3, type_expr="Colour"), "type_expr"),
        (node("n", "assume_unit", type_expr="String"), "type_expr"),
    ],
)
def test_types_and_values_in_the_graph_itself_are_judged(given_node: dict[str, Any], field: str) -> None:
    assert [item["field"] for item in report([given_node])["invalid_input_node_types"]] == [field]


@pytest.mark.parametrize("kind", ["list[File]", "dict[str, File]", {"mesh": "File"}])
def test_files_inside_other_types_stand_at_no_input_node(kind: object) -> None:
    found = report([input_node("meshes", kind), node("c", "constant", value=[], type_expr=kind)])
    told = [(item["node_key"], item["code"]) for item in found["invalid_input_node_types"]]
    assert told == [("meshes", "invalid_node_type"), ("c", "invalid_node_value")]


def test_values_with_units_stand_in_constants() -> None:
    assert report([node("n", "constant", value="3 mm", type_expr="Length")]) == {"valid": True}


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("String", F, "String and Force have nothing in common."),
        ("list[Force]", F, "list[Force] is a list, Force is a scalar."),
        ({"F": "Force", "x": "Length"}, F, "{F: Force, x: Length} is a struct, Force is a scalar."),
        ("Object", F, "Object may hold anything, so it cannot feed Force."),
    ],
)
def test_an_edge_between_types_that_do_not_agree_says_why(source: object, target: UUID, reason: str) -> None:
    found = report([input_node("i", source), function_node("f", target)], [edge("i.value", "f.x")])
    (violation,) = found["subtyping_violations"]
    assert (violation["reason"], ends(violation)) == (reason, "i.value -> f.x")
    assert violation["code"] == "type_mismatch"


def test_units_that_differ_are_named_with_a_node_that_would_mend_it() -> None:
    nodes = [input_node("i", "Float[mm]"), function_node("g", G), input_node("p", "Pressure"), function_node("h", G)]
    first, second = report(nodes, [edge("i.value", "g.s"), edge("p.value", "h.s")])["subtyping_violations"]
    assert (first["code"], first["source_unit"], first["target_unit"]) == ("unit_mismatch", "mm", "Pa")
    assert first["proposal"]["action"] == "assume_unit"
    assert first["proposal"]["node"] == {"node_kind": "assume_unit", "type_expr": "Stress"}
    assert second["proposal"]["action"] == "convert"
    for proposal, source in ((first, "i"), (second, "p")):
        mended = [*nodes[:2], nodes[2], {"node_key": "between", **proposal["proposal"]["node"]}]
        edges = [edge(f"{source}.value", "between.value"), edge("between.value", "g.s")]
        assert report(mended, edges)["valid"]


def test_equal_dimensions_connect_whatever_the_units_of_the_package() -> None:
    nodes = [input_node("i", "Float[km]"), function_node("a", MM), node("s", "assume_unit", type_expr="Float[MPa]")]
    nodes += [function_node("g", G), input_node("bare", "Float")]
    edges = [edge("i.value", "a.l"), edge("bare.value", "s.value"), edge("s.value", "g.s")]
    found = report(nodes, edges)
    assert found.pop("conversions")[0]["changes"][0]["factor"] == 1e6
    assert found == {"valid": True}


def test_a_port_takes_one_edge() -> None:
    nodes = [input_node("i", "Force"), input_node("j", "Force"), function_node("f", F)]
    (found,) = report(nodes, [edge("i.value", "f.x"), edge("j.value", "f.x")])["duplicate_target_ports"]
    assert (found["target"], found["sources"]) == ("f.x", ["i.value", "j.value"])


def test_ports_of_objects_and_dicts_take_several_edges_under_keys_of_their_own() -> None:
    nodes = [
        input_node("i", "Length"),
        input_node("j", "Length"),
        input_node("s", "String"),
        function_node("o", OBJECTS),
    ]
    right = [
        edge("i.value", "o.all", "first"),
        edge("s.value", "o.all"),
        edge("i.value", "o.lengths", "a"),
        edge("j.value", "o.lengths", "b"),
    ]
    assert report(nodes, right) == {"valid": True}
    twice = [edge("i.value", "o.all", "a"), edge("j.value", "o.all", "a"), edge("j.value", "o.lengths", "a")]
    assert [item["edge"] for item in report(nodes, twice)["duplicate_target_ports"]] == [0, 1]
    wrong = [edge("i.value", "o.all"), edge("i.value", "o.lengths", "a"), edge("s.value", "o.lengths", "b")]
    assert [item["edge"] for item in report(nodes, wrong)["subtyping_violations"]] == [2]
    (whole,) = report(nodes, [edge("i.value", "o.all"), edge("i.value", "o.lengths")])["subtyping_violations"]
    assert "alias" in whole["reason"]


def test_ends_that_are_not_there_are_named() -> None:
    nodes = [input_node("i", "Force"), function_node("f", F, after=["x"]), function_node("g", G, fallback="y")]
    edges = [edge("i.out", "f.x"), edge("i.value", "g.x"), edge("no.value", "g.s"), edge("f.y", "i.value")]
    found = report(nodes, edges, on_failure="z")
    assert [ends(item) for item in found["unknown_source_ports"]] == ["i.out -> f.x"]
    assert [ends(item) for item in found["unknown_target_ports"]] == ["i.value -> g.x", "f.y -> i.value"]
    assert [(item.get("node_key"), item["field"]) for item in found["unknown_nodes"]] == [
        (None, "source_node_key"),
        ("f", "after"),
        ("g", "fallback"),
        (None, "on_failure"),
    ]
    assert "unconnected_function_inputs" not in found


def test_versions_that_are_not_there_or_have_no_types_are_named() -> None:
    missing = uuid4()
    nodes = [
        function_node("a", missing),
        function_node("b", "no id"),
        function_node("c", UNTYPED),
        node("d", "workflow", workflow_version_id=str(missing)),
        node("e", "map", body=body(UNTYPED), over=["x"]),
    ]
    found = report(nodes, [edge("a.x", "b.y"), edge("c.x", "a.y")])
    assert {item["node_key"] for item in found["unknown_function_versions"]} == {"a", "b"}
    assert [item["node_key"] for item in found["functions_without_typed_ports"]] == ["c", "e"]
    assert [item["node_key"] for item in found["unknown_workflow_versions"]] == ["d"]
    assert set(found) == {"valid", *(category for category in found if category.startswith(("unknown_", "functions_")))}


def test_a_map_takes_lists_and_gives_lists() -> None:
    nodes = [input_node("i", "list[Force]"), node("m", "map", body=body(F), over=["x"])]
    assert report(nodes, [edge("i.value", "m.x")]) == {"valid": True}
    ports = ports_of(graph_of({"nodes": nodes}).nodes["m"], CATALOG, [])
    assert {name: str(port.type) for name, port in (ports.outputs or {}).items()} == {
        "y": "list[Stress]",
        "_failed": "Integer",
    }
    single = [input_node("i", "Force"), node("m", "map", body=body(F), over=["x"])]
    assert [ends(item) for item in report(single, [edge("i.value", "m.x")])["subtyping_violations"]] == [
        "i.value -> m.x"
    ]
    (unknown,) = report([node("m", "map", body=body(F), over=["x", "z"])])["bodies"]
    assert (unknown["code"], unknown["port"]) == ("unknown_map_port", "z")


def test_branches_have_the_same_outputs() -> None:
    same = node("s", "if", ports={"k": "Float"}, condition="k > 1", then=body(F), **{"else": body(W)})
    inputs = [input_node("i", "Force"), input_node("k", "Float")]
    edges = [edge("i.value", "s.x"), edge("k.value", "s.k")]
    assert report([*inputs, same], edges) == {"valid": True}
    cases = [{"when": "k > 1", "body": body(F)}, {"when": "k > 0", "body": body(PAIR)}]
    other = node("s", "switch", ports={"k": "Float", "x": "Length"}, cases=cases, default=body(G))
    found = report([other])["bodies"]
    assert [(item["code"], item["field"], item.get("port")) for item in found] == [
        ("branches_differ", "cases.0.body", "x"),
        ("branches_differ", "cases.1.body", None),
    ]


def test_a_loop_feeds_outputs_into_inputs_of_their_type() -> None:
    right = node("l", "loop", body=body(G), until="y > 1[Pa]", max_iterations=3, feedback={"y": "s"})
    assert report([input_node("i", "Stress"), right], [edge("i.value", "l.s")]) == {"valid": True}
    for feedback in ({"z": "s"}, {"y": "z"}):
        (found,) = report([right | {"feedback": feedback}])["bodies"]
        assert found["code"] == "wrong_feedback"
    (types,) = report([right | {"body": body(F), "feedback": {"y": "x"}}])["bodies"]
    assert "siblings" in types["message"]


@pytest.mark.parametrize(
    ("given_node", "field", "code"),
    [
        (
            node("n", "expression", expression="a +", ports={"a": "Float"}, type_expr="Float"),
            "expression",
            "expression_invalid",
        ),
        (
            node("n", "expression", expression="b", ports={"a": "Float"}, type_expr="Float"),
            "expression",
            "expression_unknown_name",
        ),
        (
            node("n", "expression", expression="a", ports={"a": "Length"}, type_expr="Time"),
            "expression",
            "unit_mismatch",
        ),
        (
            node("n", "expression", expression="a < b", ports={"a": "Length", "b": "Time"}, type_expr="Boolean"),
            "expression",
            "unit_mismatch",
        ),
        (node("n", "if", condition="k", ports={"k": "Float"}, then=body(F)), "condition", "expression_wrong_type"),
        (
            node("n", "switch", ports={"k": "Length"}, cases=[{"when": "k > 1[s]", "body": body(F)}]),
            "cases.0.when",
            "unit_mismatch",
        ),
        (node("n", "loop", body=body(G), until="y > 1[mm]", max_iterations=3), "until", "unit_mismatch"),
        (node("n", "loop", body=body(G), until="iterations > 2", max_iterations=3), "until", "expression_unknown_name"),
    ],
)
def test_expressions_are_judged_for_what_they_read_and_give(given_node: dict[str, Any], field: str, code: str) -> None:
    found = report([given_node])["expressions"]
    assert [(item["node_key"], item["field"], item["code"]) for item in found] == [("n", field, code)]


def test_expressions_that_hold_are_not_reported() -> None:
    nodes = [
        node("e", "expression", expression="f * l", ports={"f": "Force", "l": "Float[mm]"}, type_expr="Moment"),
        node("l", "loop", body=body(MM), until="l > 3[mm] or iteration > 2", max_iterations=3),
    ]
    assert "expressions" not in report(nodes)


def test_a_stand_in_gives_the_same_outputs_and_does_not_need_what_failed() -> None:
    nodes = [input_node("i", "Stress"), function_node("a", G, fallback="b"), function_node("b", G)]
    assert report(nodes, [edge("i.value", "a.s"), edge("i.value", "b.s")]) == {"valid": True}
    (needing,) = report(nodes, [edge("i.value", "a.s"), edge("a.y", "b.s")])["stand_ins"]
    assert "cannot need it" in needing["message"]
    (other,) = report([function_node("a", G, fallback="b"), function_node("b", PAIR)])["stand_ins"]
    assert "other outputs" in other["message"]


def test_what_starts_when_a_run_fails_depends_on_no_other_node() -> None:
    nodes = [input_node("i", "Stress"), function_node("a", G), function_node("last", G)]
    assert report(nodes, [edge("i.value", "a.s"), edge("i.value", "last.s")], on_failure="last") == {"valid": True}
    found = report(nodes, [edge("i.value", "a.s"), edge("a.y", "last.s")], on_failure="last")
    assert [item["code"] for item in found["stand_ins"]] == ["wrong_on_failure"]


@pytest.mark.parametrize("kind", ["workflow", "map", "loop", "if", "switch"])
def test_workflows_lie_in_one_another_eight_deep_and_never_in_themselves(kind: str) -> None:
    fields: dict[str, dict[str, Any]] = {
        "workflow": {"workflow_version_id": str(W)},
        "map": {"body": body(W), "over": ["x"]},
        "loop": {"body": body(W), "until": "iteration > 2", "max_iterations": 3},
        "if": {"ports": {}, "condition": "true", "then": body(W)},
        "switch": {"ports": {}, "cases": [{"when": "true", "body": body(W)}]},
    }
    nodes = [node("n", kind, **fields[kind])]
    catalogs = [Catalog({}, {W: found}) for found in (workflow(7), workflow(8), workflow(1, frozenset({PACKAGE})))]
    assert "nesting" not in report(nodes, catalog=catalogs[0])
    assert [item["code"] for item in report(nodes, catalog=catalogs[1])["nesting"]] == ["nesting_too_deep"]
    for workflow_id in (UUID(int=401), PACKAGE):
        found = report(nodes, catalog=catalogs[2], workflow_id=workflow_id)["nesting"]
        assert [item["code"] for item in found] == ["workflow_contains_itself"]


def test_the_ports_of_a_workflow_are_its_inputs_and_what_its_last_nodes_give() -> None:
    nodes = [
        input_node("load", "Force", required=False),
        function_node("f", F, fallback="spare"),
        function_node("spare", F),
        function_node("g", G),
        function_node("p", PAIR),
    ]
    graph = graph_of({"nodes": nodes, "edges": [edge("load.value", "f.x")]})
    ports = workflow_ports(graph, CATALOG)
    assert {name: (str(port.type), port.required) for name, port in (ports.inputs or {}).items()} == {
        "load": ("Force", False)
    }
    assert list(ports.outputs or {}) == ["f.y", "g.y", "sum"]


def test_yanked_functions_and_archived_workflows_are_warned_about() -> None:
    catalog = Catalog(CATALOG.functions, {W: workflow(is_archived=True)})
    nodes = [function_node("p", PAIR), node("w", "workflow", workflow_version_id=str(W))]
    found = report(nodes, catalog=catalog)["warnings"]
    assert [(item["code"], item["node_key"]) for item in found] == [
        ("function_yanked", "p"),
        ("workflow_archived", "w"),
    ]


@UNHURRIED
@given(documents())
def test_any_graph_gets_a_report(document: dict[str, Any]) -> None:
    read = read_graph(document)
    found = validate(read.graph, CATALOG)
    assert found.is_valid == (not found.problems)
    named = {problem.node for problem in found.problems} - {None}
    assert named <= set(read.graph.nodes)


def test_a_line_of_5000_nodes_is_judged_without_recursion() -> None:
    count = 5_000
    nodes = [function_node(f"n{index}", G) for index in range(count)]
    edges = [edge(f"n{index}.y", f"n{index + 1}.s") for index in range(count - 1)]
    assert [item["node_key"] for item in report(nodes, edges)["unconnected_function_inputs"]] == ["n0"]
    closed = report(nodes, [*edges, edge(f"n{count - 1}.y", "n0.s")])
    assert [len(keys) for keys in closed["cycles"]] == [count]
    assert set(NodeKind) > {NodeKind.FUNCTION}
