"""Units on edges: what changes on its way, what the report says of it, and what only looks as if it did not change."""

from typing import Any
from uuid import UUID

import pytest

from mecapy_platform.core.types import parse_type
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.border import converter
from mecapy_platform.core.workflows.read import graph_of
from mecapy_platform.core.workflows.signatures import Catalog, FunctionSignature, Port, ports_of_function
from mecapy_platform.core.workflows.units import changes
from mecapy_platform.core.workflows.validation import validate
from support.graphs import edge, function_node, input_node, node

SI, MM = UnitSystem.SI, UnitSystem.MM_N_MPA
IN_MM, IN_SI = UUID(int=1), UUID(int=2)
CASES: list[tuple[str, UnitSystem, str, UnitSystem, Any, Any]] = [
    ("Length", MM, "Length", SI, 9, 0.009),
    ("Length", SI, "Length", MM, 0.009, 9.0),
    ("Stress", MM, "Stress", SI, 210, 2.1e8),
    ("Stress", SI, "Float[MPa]", SI, 2.1e8, 210.0),
    ("Float[N/mm]", MM, "Float[N/m]", SI, 5, 5000.0),
    ("list[Length]", MM, "list[Length]", SI, [1, None, 3], [0.001, None, 0.003]),
    ("dict[str, Mass]", MM, "dict[str, Mass]", SI, {"a": 2}, {"a": 2000.0}),
    ("{F: Force, x: Length}", MM, "{F: Force, x: Length}", SI, {"F": 5, "x": 5}, {"F": 5, "x": 0.005}),
    ("Moment3", MM, "Moment3", SI, [1000, 2, 3], [1.0, 0.002, 0.003]),
    (
        "Torsor",
        MM,
        "Torsor",
        SI,
        {"force": [1, 2, 3], "moment": [1000, 0, 0]},
        {"force": [1, 2, 3], "moment": [1.0, 0.0, 0.0]},
    ),
    ("Length", SI, "Object", MM, 0.5, 500.0),
    ("list[Length]", MM, "Object", SI, [500], [0.5]),
]


@pytest.mark.parametrize(("source", "first", "target", "second", "value", "wanted"), CASES)
def test_numbers_change_by_the_units_of_both_ends(
    source: str, first: UnitSystem, target: str, second: UnitSystem, value: Any, wanted: Any
) -> None:
    ends = Port(parse_type(source), first), Port(parse_type(target), second)
    convert = converter(ends[0].type, first, ends[1].type, second)
    assert convert is not None
    assert convert(value) == wanted
    assert changes(*ends)


@pytest.mark.parametrize(
    ("source", "target"),
    [("Force", "Force"), ("Time", "Time"), ("Float", "Length"), ("Length", "Float"), ("String", "Object")],
)
def test_what_has_one_unit_or_none_stays(source: str, target: str) -> None:
    assert converter(parse_type(source), MM, parse_type(target), SI) is None
    assert changes(Port(parse_type(source), MM), Port(parse_type(target), SI)) == ()


def test_a_value_of_another_shape_is_handed_on() -> None:
    convert = converter(parse_type("list[Length]"), MM, parse_type("list[Length]"), SI)
    assert convert is not None
    assert convert("no list") == "no list"
    assert convert([True, "x", {"a": 1}]) == [True, "x", {"a": 1}]


def test_a_number_beyond_a_float_becomes_infinite_and_is_refused_at_the_border() -> None:
    convert = converter(parse_type("Stress"), MM, parse_type("Stress"), SI)
    assert convert is not None
    assert convert(1e308) == float("inf")


def catalog() -> Catalog:
    ports = {"l": {"type": "Length"}, "n": {"type": "Float"}}
    made = [
        FunctionSignature(
            key, f"o/p:f{key.int}@1", key, ports_of_function(ports, system), ports_of_function(ports, system)
        )
        for key, system in ((IN_MM, MM), (IN_SI, SI))
    ]
    return Catalog({signature.id: signature for signature in made})


def test_the_report_says_what_is_converted_and_what_is_taken_for_granted() -> None:
    graph = graph_of(
        {
            "nodes": [
                input_node("length", "Length"),
                input_node("number", "Float"),
                function_node("mm", IN_MM),
                function_node("si", IN_SI),
                node("cast", "assume_unit", type_expr="Time"),
            ],
            "edges": [
                edge("length.value", "mm.l"),
                edge("number.value", "mm.n"),
                edge("mm.l", "si.l"),
                edge("mm.n", "si.n"),
                edge("si.l", "cast.value"),
            ],
        }
    )
    report = validate(graph, catalog())
    assert report.is_valid
    form = report.as_dict()
    assert [(item["edge"], item["changes"][0]["factor"]) for item in form["conversions"]] == [(0, 1000.0), (2, 0.001)]
    assert form["conversions"][1]["source"] == "mm.l"
    assert [(item["code"], item["edge"]) for item in form["warnings"]] == [("unit_forgotten", 4)]


def test_a_bare_number_into_a_unit_of_another_system_is_warned_of() -> None:
    graph = graph_of(
        {
            "nodes": [input_node("number", "Float"), function_node("mm", IN_MM)],
            "edges": [edge("number.value", "mm.l"), edge("number.value", "mm.n")],
        }
    )
    warnings = validate(graph, catalog()).as_dict()["warnings"]
    assert [(item["code"], item["edge"]) for item in warnings] == [("unit_assumed", 0)]
    assert "taken as one in mm" in warnings[0]["message"]
