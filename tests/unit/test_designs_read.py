"""Designs as people write them: read whole or refused with every problem at its path, before a point is drawn."""

from collections.abc import Mapping
from typing import Any

import pytest

from mecapy_platform.core.errors import ConflictError, InvalidInputError
from mecapy_platform.core.sampling.counts import count_of
from mecapy_platform.core.sampling.design import add_points, document_of, parse_design
from mecapy_platform.core.sampling.driven import document_of as document_of_driven
from mecapy_platform.core.sampling.driven import parse_driven
from mecapy_platform.core.sampling.kinds import GROWING, DesignKind
from mecapy_platform.core.sampling.records import Design, Distribution, Factor

RANGES = {"a": "10 mm .. 20 mm", "b": {"low": 1, "high": 5}, "c": "0 .. 1 kN"}
NORMAL = {"distribution": "normal", "mean": "20 degC", "std": "5 K"}
DESIGNS: dict[str, tuple[dict[str, Any], int]] = {
    "grid": ({"factors": {"a": ["10 mm", "2 cm"], "b": {"low": 1, "high": 5, "levels": 5}, "c": ["S235", "S355"]}}, 20),
    "list": ({"points": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}, 2),
    "csv": ({"text": "a [mm];b\n1,5;2\n"}, 1),
    "one_at_a_time": ({"factors": RANGES}, 7),
    "full_factorial": ({"factors": RANGES, "centre_points": 3}, 11),
    "fractional_factorial": ({"factors": RANGES, "generators": {"c": "-a*b"}}, 4),
    "plackett_burman": ({"factors": RANGES}, 4),
    "central_composite": ({"factors": RANGES, "centre_points": 4, "variant": "inscribed"}, 18),
    "latin_hypercube": ({"factors": {**RANGES, "t": NORMAL}, "points": 50, "optimised": True}, 50),
    "sobol": ({"factors": RANGES, "points": 64, "scrambled": False}, 64),
    "halton": ({"factors": RANGES, "points": 100}, 100),
    "sobol_indices": ({"factors": RANGES, "base_points": 64}, 320),
    "morris": ({"factors": RANGES, "trajectories": 10, "grid_levels": 6}, 40),
    "monte_carlo": ({"factors": {**RANGES, "t": NORMAL}, "points": 1000, "correlation": {"a*t": 0.5}}, 1000),
}


def read(kind: str, **fields: Any) -> Design:
    return parse_design({"kind": kind, **fields}, new_seed=7)


def problems_of(kind: str, **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        read(kind, **fields)
    assert caught.value.code == "design_invalid"
    return {problem.path: problem.code for problem in caught.value.problems}


def test_each_kind_of_design_has_an_example_here() -> None:
    assert set(DESIGNS) == set(DesignKind)


@pytest.mark.parametrize("kind", DESIGNS)
def test_a_design_is_counted_and_written_back_as_it_was_read(kind: str) -> None:
    fields, count = DESIGNS[kind]
    design = read(kind, **fields)
    assert count_of(design) == count
    assert parse_design(document_of(design), new_seed=999) == design


def test_numbers_of_a_factor_are_in_its_first_unit() -> None:
    design = read("one_at_a_time", factors={"a": {"low": "10 mm", "high": "2 cm", "nominal": "0.0125 m"}})
    assert design.factors == (Factor("a", "mm", 10.0, 20.0, 12.5),)
    assert read("one_at_a_time", factors={"a": "10 .. 20,5 mm"}).factors == (Factor("a", "mm", 10.0, 20.5),)


def test_a_difference_of_temperatures_is_no_point_on_their_scale() -> None:
    factors = {"t": NORMAL}
    found = read("monte_carlo", factors=factors, points=1).factors[0]
    assert found.unit == "degC"
    assert found.distribution is not None
    assert found.distribution.parameters == {"mean": 20.0, "std": 5.0}
    wrong = problems_of("monte_carlo", factors={"t": {**NORMAL, "std": "5 degC"}}, points=1)
    assert wrong == {"factors.t.std": "unit_mismatch"}


def test_words_are_levels_as_they_are_and_quantities_are_numbers() -> None:
    factors = {"steel": ["S235", "3"], "load": ["1 kN", "500 N"], "number": [1, 2.5]}
    found = read("grid", factors=factors).factors
    assert [factor.levels for factor in found] == [("S235", "3"), (1.0, 0.5), (1, 2.5)]
    assert [factor.unit for factor in found] == [None, "kN", None]


def test_a_random_design_without_a_seed_gets_the_one_at_hand() -> None:
    assert read("monte_carlo", factors={"a": "0 .. 1"}, points=3).seed == 7
    assert read("monte_carlo", factors={"a": "0 .. 1"}, points=3, seed=2**53 - 1).seed == 2**53 - 1


TOO_LARGE: list[tuple[str, Mapping[str, Any], str, str]] = [
    ("monte_carlo", {"factors": {"a": "0 .. 1"}, "points": 10**9}, "points", "out_of_range"),
    ("monte_carlo", {"factors": {"a": "0 .. 1"}, "points": 1e300}, "points", "out_of_range"),
    (
        "grid",
        {"factors": {f"f{n}": {"low": 0, "high": 1, "levels": 50_000} for n in range(99)}},
        "points",
        "design_too_large",
    ),
    ("full_factorial", {"factors": {f"f{n}": "0 .. 1" for n in range(100)}}, "points", "design_too_large"),
    ("central_composite", {"factors": {f"f{n}": "0 .. 1" for n in range(16)}}, "points", "design_too_large"),
    ("morris", {"factors": {"a": "0 .. 1"}, "trajectories": 25_001}, "points", "design_too_large"),
    ("sobol_indices", {"factors": {"a": "0 .. 1"}, "base_points": 16_667}, "points", "design_too_large"),
    ("latin_hypercube", {"factors": {"a": "0 .. 1"}, "points": 2_001, "optimised": True}, "points", "design_too_large"),
    ("list", {"points": [{"a": 1}] * 50_001}, "points", "design_too_large"),
    ("csv", {"text": "a\n" + "1\n" * 50_001}, "text", "design_too_large"),
    ("csv", {"text": "a\n" + "1" * (16 << 20)}, "text", "csv_too_large"),
]


@pytest.mark.parametrize(("kind", "fields", "path", "code"), TOO_LARGE)
def test_what_is_too_large_is_refused_before_it_is_drawn(
    kind: str, fields: Mapping[str, Any], path: str, code: str
) -> None:
    assert problems_of(kind, **fields)[path] == code


WRONG: list[tuple[str, Mapping[str, Any], dict[str, str]]] = [
    ("sobol", {"factors": {"a": "0 .. 1"}, "points": 1.5}, {"points": "wrong_type"}),
    ("sobol", {"factors": {"a": "0 .. 1"}, "points": float("nan")}, {"points": "wrong_type"}),
    ("sobol", {"factors": {"a": "0 .. 1"}, "points": 4, "seed": -1}, {"seed": "out_of_range"}),
    ("sobol", {"factors": {}, "points": 4}, {"factors": "wrong_type"}),
    ("sobol", {"factors": {"a": "10 mm .. 20 s"}, "points": 4}, {"factors.a.high": "unit_mismatch"}),
    ("sobol", {"factors": {"a": {"low": "1 mm", "high": "2 mmm"}}, "points": 4}, {"factors.a.high": "unknown_unit"}),
    ("sobol", {"factors": {"a": {"low": float("nan"), "high": 2}}, "points": 4}, {"factors.a.low": "wrong_type"}),
    ("sobol", {"factors": {"a": {"low": 3, "high": 2}}, "points": 4}, {"factors.a.high": "out_of_range"}),
    ("sobol", {"factors": {"a": ["x", "y"]}, "points": 4}, {"factors.a": "factor_not_possible"}),
    ("sobol", {"factors": {"a": 5}, "points": 4}, {"factors.a": "wrong_type"}),
    ("sobol", {"factors": {"1a": "0 .. 1"}, "points": 4}, {"factors.1a": "bad_text"}),
    ("sobol", {"factors": {"a": "0 .. 1"}, "points": 4, "levls": 3}, {"levls": "unknown_key"}),
    ("morris", {"factors": {"t": NORMAL}, "trajectories": 4}, {"factors.t": "factor_not_possible"}),
    ("morris", {"factors": {"a": "0 .. 1"}, "trajectories": 4, "grid_levels": 5}, {"grid_levels": "out_of_range"}),
    ("grid", {"factors": {"a": {"low": 0, "high": 1, "spacing": "log"}}}, {"factors.a.low": "out_of_range"}),
    ("fractional_factorial", {"factors": RANGES, "generators": {"c": "a*x"}}, {"generators.c": "generator_impossible"}),
    ("fractional_factorial", {"factors": RANGES, "resolution": 4}, {"resolution": "generator_impossible"}),
    ("list", {"points": [{"a": 1}, {"b": 1}]}, {"points[1]": "missing_field"}),
    ("monte_carlo", {"factors": RANGES, "points": 3, "correlation": [[1, 0], [0, 1]]}, {"correlation": "wrong_type"}),
    (
        "monte_carlo",
        {"factors": RANGES, "points": 3, "correlation": {"a*b": 0.9, "b*c": 0.9, "a*c": -0.9}},
        {"correlation": "correlation_impossible"},
    ),
    (
        "monte_carlo",
        {"factors": RANGES, "points": 3, "correlation": [[1, float("nan"), 0], [0, 1, 0], [0, 0, 1]]},
        {"correlation[1][0]": "correlation_impossible"},
    ),
    ("latin_hypercube", {"factors": RANGES, "points": 3, "correlation": {"a*b": 0.5}}, {"correlation": "unknown_key"}),
]


@pytest.mark.parametrize(("kind", "fields", "expected"), WRONG)
def test_what_is_wrong_is_named_by_path_and_code(
    kind: str, fields: Mapping[str, Any], expected: dict[str, str]
) -> None:
    assert problems_of(kind, **fields) == expected


DISTRIBUTIONS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"distribution": "normal", "mean": 1}, {".std": "missing_field"}),
    ({"distribution": "normal", "mean": 1, "std": 0}, {".std": "out_of_range"}),
    ({"distribution": "normal", "mean": 1, "std": 1, "lower": 3, "upper": 2}, {".upper": "out_of_range"}),
    ({"distribution": "gaussian"}, {".distribution": "not_allowed"}),
    ({"distribution": "log_normal", "mean": -1, "std": 1}, {".mean": "out_of_range"}),
    ({"distribution": "uniform", "low": 2, "high": 2}, {".high": "out_of_range"}),
    ({"distribution": "triangular", "low": 0, "mode": 5, "high": 2}, {".mode": "out_of_range"}),
    ({"distribution": "weibull", "shape": 0, "scale": 1}, {".shape": "out_of_range"}),
    ({"distribution": "weibull", "shape": 2, "scale": 1, "upper": -1}, {".upper": "out_of_range"}),
    ({"distribution": "table", "values": [1, 2]}, {".values": "missing_field"}),
    ({"distribution": "table", "values": [2, 1], "weights": [1, 1]}, {".values": "out_of_range"}),
    ({"distribution": "table", "values": [1, 2], "weights": [1]}, {".weights": "out_of_range"}),
    ({"distribution": "table", "values": [1, 2], "weights": [0, 0]}, {".weights": "out_of_range"}),
    ({"distribution": "table", "values": [1, 2], "cumulative": [0.1, 1]}, {".cumulative": "out_of_range"}),
]


@pytest.mark.parametrize(("said", "expected"), DISTRIBUTIONS)
def test_a_distribution_that_is_none_is_refused(said: dict[str, Any], expected: dict[str, str]) -> None:
    found = problems_of("monte_carlo", factors={"x": said}, points=3)
    assert found == {f"factors.x{path}": code for path, code in expected.items()}


def test_every_problem_of_a_design_is_found_in_one_look() -> None:
    found = problems_of(
        "monte_carlo", factors={"a": "1 .. 0", "b": {"distribution": "normal", "mean": "x", "std": -1}}, points=0
    )
    assert set(found) == {"factors.a.high", "factors.b.mean", "points"}


@pytest.mark.parametrize("kind", DESIGNS)
def test_points_are_added_where_the_design_stays_one(kind: str) -> None:
    design = read(kind, **DESIGNS[kind][0])
    rows = [dict.fromkeys(design.names, 1)]
    if kind not in GROWING:
        with pytest.raises(ConflictError, match="Make a new study") as caught:
            add_points(design, {"points": 5})
        assert caught.value.code == "points_not_added"
    elif kind in {"list", "csv"}:
        assert count_of(add_points(design, {"points": rows})) == len(design.rows) + 1
        with pytest.raises(InvalidInputError):
            add_points(design, {"points": [{"other": 1}]})
    else:
        assert count_of(add_points(design, {"points": 5})) == design.points + 5
        with pytest.raises(InvalidInputError):
            add_points(design, {"points": 50_000})


def test_a_table_of_single_values_has_probabilities() -> None:
    said = {"distribution": "table", "values": ["1 mm", "0.2 cm"], "weights": [1, 3]}
    found = read("monte_carlo", factors={"x": said}, points=3).factors[0]
    assert (
        found.distribution == Distribution(found.distribution.kind, {}, values=(1.0, 2.0), weights=(0.25, 0.75))
        if found.distribution
        else False
    )


DRIVEN: list[dict[str, Any]] = [
    {
        "kind": "optimisation",
        "factors": {"w": "10 mm .. 20 mm", "n": {"low": 1, "high": 9, "whole": True}},
        "objectives": [{"expression": "mass"}],
        "constraints": [{"expression": "stress", "at_most": "200 MPa"}],
    },
    {
        "kind": "optimisation",
        "factors": {"w": "10 mm .. 20 mm"},
        "objectives": [{"expression": "mass"}, {"expression": "life", "goal": "maximise"}],
    },
    {"kind": "root_finding", "factors": {"w": "10 mm .. 20 mm"}, "expression": "stress", "target": "100 MPa"},
    {"kind": "convergence", "factors": {"h": "1 mm .. 8 mm"}, "expression": "deflection", "tolerance": 0.02},
    {
        "kind": "reliability",
        "factors": {
            "r": {"distribution": "normal", "mean": 5, "std": 1},
            "s": {"distribution": "normal", "mean": 2, "std": 1},
        },
        "expression": "r - s",
        "correlation": {"r*s": 0.2},
        "sampling_points": 500,
    },
]


@pytest.mark.parametrize("document", DRIVEN)
def test_a_driven_study_is_written_back_as_it_was_read(document: dict[str, Any]) -> None:
    driven = parse_driven(document, new_seed=7)
    assert driven.seed == 7
    assert parse_driven(document_of_driven(driven), new_seed=8) == driven


def test_limits_of_a_driven_study_are_in_si() -> None:
    assert parse_driven(DRIVEN[0], new_seed=1).constraints[0].at_most == 200e6
    assert parse_driven(DRIVEN[2], new_seed=1).target == 100e6


DRIVEN_WRONG: list[tuple[int, dict[str, Any], dict[str, str]]] = [
    (0, {"method": "nsga2"}, {"method": "not_allowed"}),
    (1, {"method": "cobyqa"}, {"method": "not_allowed"}),
    (0, {"method": "cobyqa"}, {"factors.n.whole": "factor_not_possible"}),
    (0, {"objectives": []}, {"objectives": "wrong_type"}),
    (0, {"constraints": [{"expression": "x"}]}, {"constraints[0]": "missing_field"}),
    (
        0,
        {"constraints": [{"expression": "x", "at_least": 1, "at_most": 1}]},
        {"constraints[0].at_most": "out_of_range"},
    ),
    (0, {"points": 10**9}, {"points": "out_of_range"}),
    (2, {"factors": {"a": "0 .. 1", "b": "0 .. 1"}}, {"factors": "factor_not_possible"}),
    (2, {"target": "100 MPaa"}, {"target": "unknown_unit"}),
    (3, {"ratio": 1.0}, {"ratio": "out_of_range"}),
    (3, {"factors": {"h": "0 .. 1"}}, {"factors.h.low": "out_of_range"}),
    (4, {"correlation": {"r*s": 1}}, {"correlation": "correlation_impossible"}),
    (4, {"expression": ""}, {"expression": "wrong_type"}),
]


@pytest.mark.parametrize(("which", "change", "expected"), DRIVEN_WRONG)
def test_a_driven_study_that_cannot_be_is_refused(which: int, change: dict[str, Any], expected: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_driven({**DRIVEN[which], **change}, new_seed=7)
    assert {problem.path: problem.code for problem in caught.value.problems} == expected


MANY = {f"f{number}": "0 .. 1" for number in range(60)}
HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("sobol", {"factors": {"a": {"low": 0, "high": 10**400}}, "points": 4}, "factors.a.high"),
    ("sobol", {"factors": {"a": "0 .. 1"}, "points": 10**400}, "points"),
    ("sobol", {"factors": {"a": "1" + " " * 1_000_000 + "2"}, "points": 4}, "factors.a"),
    ("sobol", {"factors": {"a": {"low": "1" * 1_000_000, "high": 2}}, "points": 4}, "factors.a.low"),
    ("sobol", {"factors": {"a" * 1_000_000: "0 .. 1"}, "points": 4}, "factors." + "a" * 100),
    ("csv", {"text": "a" + " " * 1_000_000 + "[\n1\n"}, "text.1.1"),
    ("csv", {"text": '"' * 1_000_001}, "text"),
    (
        "fractional_factorial",
        {"factors": MANY, "generators": {f"f{number}": "f0*f1" for number in range(2, 60)}},
        "generators",
    ),
]


@pytest.mark.parametrize(("kind", "fields", "path"), HOSTILE)
def test_what_is_made_to_cost_much_is_refused_before_it_does(kind: str, fields: dict[str, Any], path: str) -> None:
    assert path in problems_of(kind, **fields)
