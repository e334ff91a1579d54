"""Values between packages of different unit systems, in runs over real PostgreSQL: in SI here, in mm-N-MPa there."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mecapy_platform.db.tables import Task
from support import factories
from support.workflows.runs import Bench, bench, given


def function(inputs: Mapping[str, str], outputs: Mapping[str, str], units: str = "SI") -> dict[str, Any]:
    sides = (
        {name: {"type": kind, "description": None, "required": True} for name, kind in side.items()}
        for side in (inputs, outputs)
    )
    given_ports, returned = sides
    return {"inputs": given_ports, "outputs": returned, "options": {"units": units}}


BEAM = function(
    {"length": "Length", "load": "Float[N/mm]"}, {"stress": "Stress", "lengths": "list[Length]"}, "mm-N-MPa"
)
CHECK = function({"stress": "Stress", "lengths": "list[Length]", "all": "Object"}, {"ok": "Boolean"})
STRETCH = function({"length": "Length"}, {"length": "Length"}, "mm-N-MPa")
NOTE = function({"note": "Object"}, {"ok": "Boolean"}, "mm-N-MPa")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("units")) as found:
        found.package = factories.ready_package(
            found.worker,
            found.organization_id,
            found.actor.user_id,
            name="beams",
            functions={"beam": BEAM, "check": CHECK, "stretch": STRETCH, "note": NOTE},
        )
        yield found


def test_numbers_are_in_the_units_of_each_package(made: Bench) -> None:
    nodes = [
        given("l", "Length"),
        given("q", "Float[N/m]"),
        made.function("beam", "beam"),
        made.function("check", "check"),
    ]
    edges = [
        *("l.value > beam.length", "q.value > beam.load", "beam.stress > check.stress", "beam.lengths > check.lengths"),
        *("beam.stress > check.all = sigma", "l.value > check.all = l"),
    ]
    run_id = made.submit(made.version(nodes, edges), {"l": "0.5 m", "q": "3 kN/m"})
    beam = made.tasks(run_id)["beam"]
    assert beam.inputs == {"length": 500.0, "load": 3.0}
    made.end(beam, {"stress": 210, "lengths": [9, 10]})
    check = made.tasks(run_id)["check"]
    assert check.inputs == {"stress": 2.1e8, "lengths": [0.009, 0.01], "all": {"sigma": 2.1e8, "l": 0.5}}


def test_an_expression_and_an_object_meet_the_same_quantity(made: Bench) -> None:
    nodes = [
        given("l", "Length"),
        made.function("stretch", "stretch"),
        {
            "node_key": "longer",
            "node_kind": "expression",
            "expression": "l + 1[mm]",
            "ports": {"l": "Length"},
            "type_expr": "Float[cm]",
        },
        made.function("again", "stretch"),
        made.function("note", "note"),
    ]
    edges = ["l.value > stretch.length", "stretch.length > longer.l", "longer.value > again.length"]
    edges += ["again.length > note.note = a", "longer.value > note.note = b"]
    run_id = made.submit(made.version(nodes, edges), {"l": "9 mm"})
    first = made.tasks(run_id)["stretch"]
    assert first.inputs == {"length": pytest.approx(9.0)}
    made.end(first, {"length": 19})
    assert made.nodes(run_id)["longer"].outputs == {"value": pytest.approx(2.0)}
    second = made.tasks(run_id)["again"]
    assert second.inputs == {"length": pytest.approx(20.0)}
    made.end(second, {"length": 40})
    assert made.tasks(run_id)["note"].inputs == {"note": {"a": 40, "b": pytest.approx(2.0)}}


def test_a_loop_and_its_condition_keep_the_units_of_the_body(made: Bench) -> None:
    node = {
        "node_key": "grow",
        "node_kind": "loop",
        "body": made.body("stretch"),
        "until": "length >= 35[mm]",
        "max_iterations": 9,
        "feedback": {"length": "length"},
    }
    nodes = [given("l", "Length"), node, made.function("last", "stretch")]
    edges = ["l.value > grow.length", "grow.length > last.length"]
    run_id = made.submit(made.version(nodes, edges), {"l": "5 mm"})

    def doubled(task: Task) -> dict[str, Any]:
        return {"length": (task.inputs or {})["length"] * 2}

    assert made.serve(run_id, doubled) == 4
    assert made.run(run_id).state == "completed"
    assert made.tasks(run_id, "completed")["last"].inputs == {"length": pytest.approx(40.0)}


def test_an_if_compares_the_quantity_and_not_its_number(made: Bench) -> None:
    node = {
        "node_key": "choice",
        "node_kind": "if",
        "condition": "now > 15[mm]",
        "ports": {"now": "Length"},
        "then": made.body("stretch"),
        "else": None,
    }
    nodes = [given("l", "Length"), made.function("stretch", "stretch"), node]
    edges = ["l.value > stretch.length", "stretch.length > choice.now", "stretch.length > choice.length"]
    run_id = made.submit(made.version(nodes, edges), {"l": "5 mm"})
    made.end(made.tasks(run_id)["stretch"], {"length": 16})
    assert made.tasks(run_id)["choice"].inputs == {"length": 16}


def test_an_expression_that_cannot_be_computed_fails_its_node_with_its_code(made: Bench) -> None:
    node = {
        "node_key": "ratio",
        "node_kind": "expression",
        "expression": "1[m] / (l - 9[mm])",
        "ports": {"l": "Length"},
        "type_expr": "Float",
    }
    run_id = made.submit(made.version([given("l", "Length"), node], ["l.value > ratio.l"]), {"l": "9 mm"})
    failed = made.nodes(run_id)["ratio"]
    assert (failed.state, failed.error_code) == ("failed", "expression_division_by_zero")
    assert made.run(run_id).state == "failed"
