"""Runs over real PostgreSQL: each kind of node from start to end, with no worker; the test ends tasks itself."""

from collections.abc import Iterator
from typing import Any

import pytest

from mecapy_platform.core.errors import ConflictError, InvalidInputError
from mecapy_platform.core.states import TaskState
from mecapy_platform.db import run_views
from mecapy_platform.services.runs import read
from mecapy_platform.services.runs.inputs import MissingInputsError
from mecapy_platform.services.work import unit
from support.workflows.runs import Bench, add, bench, given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("runs")) as found:
        yield found


def test_a_run_goes_on_by_itself_to_its_end(made: Bench) -> None:
    nodes = [given("x"), given("y"), made.function("first"), made.function("second")]
    edges = ["x.value > first.a", "y.value > first.b", "first.sum > second.a", "y.value > second.b"]
    run_id = made.submit(made.version(nodes, edges), {"x": 1.5, "y": 2})
    assert made.run(run_id).state == "running"
    assert list(made.tasks(run_id)) == ["first"]
    assert made.tasks(run_id)["first"].inputs == {"a": 1.5, "b": 2}
    assert made.serve(run_id, add) == 2
    run = made.run(run_id)
    assert (run.state, run.error_message) == ("completed", None)
    assert made.states(run_id) == {"first": "completed", "second": "completed"}
    assert made.tasks(run_id, "completed")["second"].inputs == {"a": 3.5, "b": 2}
    assert made.marks(run_id) == 0


def test_what_is_missing_or_does_not_fit_is_refused_before_a_run_exists(made: Bench) -> None:
    version = made.version([given("x"), given("l", "Length"), made.function("first")], ["x.value > first.a"])
    with pytest.raises(MissingInputsError) as missing:
        made.submit(version, {"x": 1.0})
    assert missing.value.keys == ["l"]
    with pytest.raises(InvalidInputError) as wrong:
        made.submit(version, {"x": 1.0, "l": "3 kg", "y": 2})
    assert {problem.code for problem in wrong.value.problems} == {"unit_mismatch", "unknown_input"}


@pytest.mark.parametrize("kind", ["list[File]", {"mesh": "File"}])
def test_a_version_that_asks_for_files_in_a_list_is_refused_its_run(made: Bench, kind: Any) -> None:
    version = made.version(
        [given("meshes", kind), given("x"), made.function("first", "mesh")], ["x.value > first.size"]
    )
    with pytest.raises(InvalidInputError) as wrong:
        made.submit(version, {"meshes": ["upload:1"], "x": 1.0})
    assert [problem.code for problem in wrong.value.problems] == ["nested_file"]


def test_a_key_starts_one_run(made: Bench) -> None:
    version = made.version([given("x"), made.function("one")], ["x.value > one.a", "x.value > one.b"])
    first = made.submit(version, {"x": 1.0}, idempotency_key="k")
    assert made.submit(version, {"x": 1.0}, idempotency_key="k") == first
    with pytest.raises(ConflictError, match="another request"):
        made.submit(version, {"x": 2.0}, idempotency_key="k")
    assert len(made.tasks(first)) == 1


def test_a_failed_node_cancels_what_depends_on_it_and_the_rest_ends(made: Bench) -> None:
    nodes = [given("x"), *(made.function(key) for key in ("bad", "after", "beside", "later"))]
    edges = [f"x.value > {key}.b" for key in ("bad", "after", "beside", "later")]
    edges += ["x.value > bad.a", "x.value > beside.a", "bad.sum > after.a", "beside.sum > later.a"]
    run_id = made.submit(made.version(nodes, edges), {"x": 1.0})
    tasks = made.tasks(run_id)
    assert set(tasks) == {"bad", "beside"}
    made.end(tasks["bad"], state=TaskState.FAILED)
    assert made.states(run_id) == {"bad": "failed", "after": "cancelled", "beside": "running", "later": "pending"}
    assert made.run(run_id).state == "running"
    made.end(tasks["beside"], {"sum": 2.0})
    assert made.states(run_id) == {"bad": "failed", "after": "cancelled", "beside": "completed", "later": "cancelled"}
    run = made.run(run_id)
    assert (run.state, run.first_failed_node_key, run.error_code) == ("failed", "bad", "failed")
    assert not made.tasks(run_id)


def test_with_continue_what_does_not_depend_on_the_failed_goes_on(made: Bench) -> None:
    nodes = [given("x"), *(made.function(key) for key in ("bad", "after", "beside", "later"))]
    edges = [f"x.value > {key}.b" for key in ("bad", "after", "beside", "later")]
    edges += ["x.value > bad.a", "x.value > beside.a", "bad.sum > after.a", "beside.sum > later.a"]
    run_id = made.submit(made.version(nodes, edges), {"x": 1.0}, failure_policy="continue")
    made.end(made.tasks(run_id)["bad"], state=TaskState.TIMEOUT)
    assert made.serve(run_id, add) == 2
    assert made.states(run_id) == {"bad": "failed", "after": "cancelled", "beside": "completed", "later": "completed"}
    assert made.run(run_id).state == "failed"


def test_constants_and_expressions_are_there_at_once_and_units_cross_edges(made: Bench) -> None:
    nodes = [
        given("area", "Area"),
        {"node_key": "p", "node_kind": "constant", "value": "2 MPa", "type_expr": "Pressure"},
        {
            "node_key": "force",
            "node_kind": "expression",
            "expression": "p * area",
            "ports": {"p": "Pressure", "area": "Area"},
            "type_expr": "Force",
        },
        made.function("stress", "loaded"),
    ]
    edges = ["p.value > force.p", "area.value > force.area", "force.value > stress.force"]
    run_id = made.submit(made.version(nodes, edges), {"area": "50 mm^2"})
    assert made.tasks(run_id)["stress"].inputs == {"force": pytest.approx(100.0)}
    assert made.nodes(run_id)["force"].outputs == {"value": pytest.approx(100.0)}


MAP = {"node_key": "each", "node_kind": "map", "over": ["a"], "parallel": 2}


def mapped(made: Bench, **more: Any) -> Any:
    nodes = [
        given("n", "Integer"),
        given("y"),
        made.function("split", "split"),
        {**MAP, "body": made.body(), **more},
        {
            "node_key": "total",
            "node_kind": "expression",
            "expression": "sum(v)",
            "ports": {"v": "list[Float]"},
            "type_expr": "Float",
        },
    ]
    edges = ["n.value > split.count", "split.parts > each.a", "y.value > each.b", "each.sum > total.v"]
    run_id = made.submit(made.version(nodes, edges), {"n": 5, "y": 1.0})
    made.end(made.tasks(run_id)["split"], {"parts": [1.0, 2.0, 3.0, 4.0, 5.0]})
    return run_id


def test_a_map_runs_its_items_a_few_at_a_time_and_collects_them_in_order(made: Bench) -> None:
    run_id = mapped(made)
    assert list(made.tasks(run_id)) == ["each[0]", "each[1]"]
    made.end(made.tasks(run_id)["each[1]"], {"sum": 3.0})
    assert set(made.tasks(run_id)) == {"each[0]", "each[2]"}
    assert made.serve(run_id, add) == 4
    assert made.run(run_id).state == "completed"
    nodes = made.nodes(run_id)
    assert nodes["each"].outputs == {"sum": [2.0, 3.0, 4.0, 5.0, 6.0], "_failed": 0}
    assert nodes["total"].outputs == {"value": 20.0}
    assert [call.state for call in made.calls(run_id, "each")] == ["completed"] * 5


@pytest.mark.parametrize(("policy", "outcome"), [("skip", [3.0]), ("null", [None, 3.0, None])])
def test_a_map_may_leave_out_what_failed(made: Bench, policy: str, outcome: list[float | None]) -> None:
    run_id = mapped(made, on_item_failure=policy, parallel=3)
    tasks = made.tasks(run_id)
    for name in ("each[0]", "each[2]"):
        made.end(tasks[name], state=TaskState.FAILED)
    assert made.serve(run_id, add) == 3
    outputs = made.nodes(run_id)["each"].outputs
    assert outputs is not None
    assert outputs["_failed"] == 2
    assert outputs["sum"][: len(outcome)] == outcome


def test_a_failed_item_ends_a_map_that_says_nothing_else(made: Bench) -> None:
    run_id = mapped(made)
    tasks = made.tasks(run_id)
    made.end(tasks["each[0]"], state=TaskState.FAILED)
    assert made.states(run_id)["each"] == "running"
    assert set(made.tasks(run_id)) == {"each[1]"}
    made.end(tasks["each[1]"], {"sum": 3.0})
    node = made.nodes(run_id)["each"]
    assert (node.state, node.error_code) == ("failed", "failed")
    assert node.error_message is not None
    assert node.error_message.startswith("Item 0: ")
    assert [call.state for call in made.calls(run_id, "each")] == ["failed", "completed", *["cancelled"] * 3]


def test_an_if_takes_one_branch_and_skips_where_there_is_none(made: Bench) -> None:
    def choose(x: float, **more: Any) -> Any:
        node = {
            "node_key": "choice",
            "node_kind": "if",
            "condition": "x > 1",
            "ports": {"x": "Float"},
            "then": made.body(),
            "else": None,
            **more,
        }
        edges = ["x.value > choice.x", "x.value > choice.a", "x.value > choice.b", "choice.sum > last.a"]
        nodes = [given("x"), node, made.function("last")]
        return made.submit(made.version(nodes, [*edges, "x.value > last.b"]), {"x": x})

    taken = choose(2.0)
    assert made.serve(taken, add) == 2
    assert made.run(taken).state == "completed"
    skipped = choose(1.0)
    assert made.states(skipped) == {"choice": "skipped", "last": "skipped"}
    assert made.run(skipped).state == "completed"


def test_a_loop_goes_on_until_its_condition_holds_and_not_beyond_its_limit(made: Bench) -> None:
    def loop(most: int) -> Any:
        node = {
            "node_key": "grow",
            "node_kind": "loop",
            "body": made.body(),
            "until": "sum > 3 and iteration >= 2",
            "max_iterations": most,
            "feedback": {"sum": "a"},
        }
        edges = ["x.value > grow.a", "x.value > grow.b", "grow.sum > last.a", "grow.iterations > last.b"]
        return made.submit(made.version([given("x"), node, made.function("last")], edges), {"x": 1.0})

    run_id = loop(10)
    assert made.serve(run_id, add) == 4
    assert made.run(run_id).state == "completed"
    assert made.tasks(run_id, "completed")["last"].inputs == {"a": 4.0, "b": 3}
    short = loop(2)
    made.serve(short, add)
    assert made.nodes(short)["grow"].error_code == "loop_limit"
    assert made.run(short).state == "failed"


def test_a_workflow_runs_inside_another(made: Bench) -> None:
    inner = made.version([given("x"), made.function("f")], ["x.value > f.a", "x.value > f.b"])
    node = {"node_key": "inner", "node_kind": "workflow", "workflow_version_id": str(inner)}
    edges = ["y.value > inner.x", "inner.sum > last.a", "y.value > last.b"]
    run_id = made.submit(made.version([given("y"), node, made.function("last")], edges), {"y": 2.0})
    assert made.serve(run_id, add) == 2
    assert made.run(run_id).state == "completed"
    assert made.tasks(run_id, "completed")["last"].inputs == {"a": 4.0, "b": 2.0}


def test_outputs_beyond_what_an_answer_holds_are_not_read(made: Bench) -> None:
    run_id = mapped(made)
    with unit(made.app, made.actor.organization_ids, made.actor.user_id) as session:
        waiting, _ = read.nodes(session, made.actor, run_id)
    assert not any(node.has_more for node in waiting)
    made.serve(run_id, add)
    with unit(made.app, made.actor.organization_ids, made.actor.user_id) as session:
        without, _ = read.nodes(session, made.actor, run_id, outputs=False)
        rows = session.execute(run_views.NODES, {"run_id": run_id, "after": -1, "most": 9, "bytes": 0}).all()
    assert all(node.outputs is None and node.has_more for node in without)
    assert not any("sum" in str(value) or "parts" in str(value) for row in rows for value in row)


def test_a_run_is_shown_as_published_with_its_nodes_and_items_in_pages(made: Bench) -> None:
    run_id = mapped(made)
    made.serve(run_id, add)
    with unit(made.app, made.actor.organization_ids, made.actor.user_id) as session:
        view = read.get_run(session, made.actor, run_id)
        nodes, following = read.nodes(session, made.actor, run_id)
        first, further = read.nodes(session, made.actor, run_id, limit=2)
        items, next_item = read.items(session, made.actor, run_id, "each", limit=3)
        listed, total = read.list_runs(session, made.actor, read.RunFilter(workflow_id=view.run.workflow_id))
    assert (view.run.state, following, further) == ("completed", None, 1)
    assert [node.key for node in first] == [node.key for node in nodes][:2]
    states = read.published_node_states(nodes)
    assert states.keys() == {"split"}
    assert (states["split"]["status"], states["split"]["outputs"]) == ("success", {"parts": [1.0, 2.0, 3.0, 4.0, 5.0]})
    assert states["split"]["job_id"] is not None
    assert {node.key: node.outputs for node in nodes}["total"] == {"value": 20.0}
    assert not any(node.has_more for node in nodes)
    assert [(item.index, item.outputs) for item in items] == [(0, {"sum": 2.0}), (1, {"sum": 3.0}), (2, {"sum": 4.0})]
    assert (next_item, total, [run.id for run, _ in listed]) == (2, 1, [run_id])


def test_files_flow_from_node_to_node_without_a_copy(made: Bench) -> None:
    nodes = [given("x"), made.function("mesh", "mesh"), made.function("solve", "solve")]
    run_id = made.submit(made.version(nodes, ["x.value > mesh.size", "mesh.mesh > solve.mesh"]), {"x": 1.0})
    file = ("file", "mesh", "beam.med", f"org/{made.organization_id}/made", 12)
    made.end(made.tasks(run_id)["mesh"], {}, files=[file])
    task = made.tasks(run_id)["solve"]
    assert task.inputs == {}
    assert task.files["mesh"]["key"] == f"org/{made.organization_id}/made"
    assert (task.files["mesh"]["filename"], task.files["mesh"]["extension"]) == ("beam.med", "med")


def test_files_of_the_items_of_a_map_flow_to_the_items_of_another(made: Bench) -> None:
    nodes = [
        given("v", "list[Float]"),
        {"node_key": "meshes", "node_kind": "map", "over": ["size"], "body": made.body("mesh"),
         "on_item_failure": "null"},
        {"node_key": "solves", "node_kind": "map", "over": ["mesh"], "body": made.body("solve"),
         "on_item_failure": "skip"},
    ]  # fmt: skip
    edges = ["v.value > meshes.size", "meshes.mesh > solves.mesh"]
    run_id = made.submit(made.version(nodes, edges), {"v": [1.0, 2.0, 3.0]})
    tasks = made.tasks(run_id)
    made.end(tasks["meshes[1]"], state=TaskState.FAILED)
    for index in (0, 2):
        file = ("file", "mesh", f"beam{index}.med", f"org/{made.organization_id}/made{index}", 12)
        made.end(tasks[f"meshes[{index}]"], {}, files=[file])
    solves = made.tasks(run_id)
    assert {name: task.files["mesh"]["filename"] for name, task in solves.items()} == {
        "solves[0]": "beam0.med",
        "solves[2]": "beam2.med",
    }
    assert made.serve(run_id, lambda _: {"sum": 1.0}) == 2
    assert [call.error_code for call in made.calls(run_id, "solves")] == [None, "inputs_invalid", None]
    assert made.nodes(run_id)["solves"].outputs == {"sum": [1.0, 1.0], "_failed": 1}


def test_large_values_go_by_reference(made: Bench) -> None:
    run_id = mapped(made, parallel=50)
    for task in made.tasks(run_id).values():
        made.end(task, add(task), advances=False)
    made.advance(run_id)
    assert made.run(run_id).state == "completed"
    many = made.submit(
        made.version([given("v", "list[Float]"), {**MAP, "body": made.body(), "parallel": 300}, given("y")],
                     ["v.value > each.a", "y.value > each.b"]),
        {"v": [number + 0.123456789012 for number in range(300)], "y": 1.0},
    )  # fmt: skip
    assert made.run(many).inputs_ref is not None
    for task in made.tasks(many).values():
        made.end(task, add(task), advances=False)
    made.advance(many)
    node = made.nodes(many)["each"]
    assert (made.run(many).state, node.outputs, node.outputs_ref is None) == ("completed", None, False)


def test_a_repeated_advance_changes_nothing(made: Bench) -> None:
    run_id = mapped(made)
    before = made.run(run_id).change
    made.advance(run_id)
    made.advance(run_id)
    assert made.run(run_id).change == before
    assert made.serve(run_id, add) == 5


def test_a_map_over_nothing_gives_empty_lists_at_once(made: Bench) -> None:
    nodes = [given("v", "list[Float]"), given("y"), {**MAP, "body": made.body()}]
    run_id = made.submit(made.version(nodes, ["v.value > each.a", "y.value > each.b"]), {"v": [], "y": 1.0})
    assert made.run(run_id).state == "completed"
    assert made.nodes(run_id)["each"].outputs == {"sum": [], "_failed": 0}
