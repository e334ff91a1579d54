"""Expressions on quantities: what they compute, what they refuse before and while they compute."""

import re
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.core.expressions import ExpressionError, check, evaluate, infer, parse, said
from mecapy_platform.core.types import parse_type
from mecapy_platform.core.units import UnitSystem

PAGE = Path(__file__).parents[2] / "docs/reference/expressions.md"
TYPES = {
    name: parse_type(kind)
    for name, kind in {
        "length": "Length",
        "width": "Length",
        "time": "Time",
        "force": "Force",
        "n": "Integer",
        "x": "Float",
        "grade": "String",
        "stresses": "list[Stress]",
        "load": {"F": "Force", "offset?": "Length"},
        "ok": "Boolean",
        "yield_strength": "Float[MPa]",
        "f": "Frequency",
        "omega": "Float[rad/s]",
        "torsor": "Torsor",
        "angle": "Angle",
        "factors": "dict[str, Float]",
        "weld.stress": "Stress",
        "anything": "Object",
        "table": "Array",
        "mesh": "File",
    }.items()
}
VALUES = {
    "length": 1.5,
    "width": 0.5,
    "time": 2.0,
    "force": 1000.0,
    "n": 3,
    "x": 2.5,
    "grade": "S235",
    "stresses": [1e6, 2e6],
    "load": {"F": 5.0},
    "ok": True,
    "yield_strength": 235,
    "f": 50,
    "omega": 10,
    "torsor": {"force": [1, 2, 3], "moment": [4, 5, 6]},
    "angle": 0.5,
    "factors": {"k": 2.0},
    "weld.stress": 1e8,
    "table": [[1, 2], [3, 4]],
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 + 2 * 3", 7),
        ("-2 ** 2", -4),
        ("2 ** 3 ** 2", 512),
        ("--3", 3),
        ("7 % 3", 1),
        ("-7.5 % 2", 0.5),
        ("7 / 2", 3.5),
        ("length + 3[mm]", 1.503),
        ("force / 2[mm] ** 2", 2.5e8),
        ('force / (2[mm] ** 2) < "251 MPa"', True),
        ("20[degC]", 293.15),
        ("length * angle", 0.75),
        ("sqrt(length * 6[m])", 3.0),
        ("8[m^3] ** (1/3)", 2.0),
        ("max(stresses) < yield_strength", True),
        ("max(length, width, 0)", 1.5),
        ("mean(stresses) / 1[MPa]", 1.5),
        ("length if ok and n == 3 else width", 1.5),
        ("0 if n == 3 else 1 / (n - 3)", 0.0),
        ("n == 3 or 1 / (n - 3) > 0", True),
        ("0 < length <= 1.5[m] != width", True),
        ('grade in ["S235", "S355"] and grade not in ["S460"]', True),
        ("load.F + load['F']", 10.0),
        ("torsor.force[-1] + torsor.force[0]", 4.0),
        ('factors.k * factors["k"]', 4.0),
        ("`weld.stress` > 99[MPa]", True),
        ("round(length / 1[mm])", 1500),
        ("round(2.345, 2)", 2.35),
        ("floor(-1.5) + ceil(1.2)", 0),
        ("isclose(length, 1.5000001[m], 1e-6)", True),
        ("any([ok, not ok]) and all([ok, n > 1])", True),
        ("len(stresses) + len(grade)", 6),
        ("sum([1, 2, 3])", 6),
        ("atan2(length, length) / pi", 0.25),
        ("2 × 3 ≥ 6", True),  # noqa: RUF001 - as people type it
        ("not length < width", True),
    ],
)
def test_it_computes(text: str, wanted: Any) -> None:
    found = evaluate(parse(text), VALUES, TYPES)
    assert found == pytest.approx(wanted)
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("text", "code", "said_in"),
    [
        ("length < time", "unit_mismatch", r"Character 10: a length \(m\) and a time \(s\)"),
        ("length + x", "unit_mismatch", "Give the number a unit"),
        ("f < omega", "unit_mismatch", r"2 \* pi \* 1\[rad\]"),
        ("length if ok else time", "unit_mismatch", "two results"),
        ("max(length, time)", "unit_mismatch", r"by max\(..\)"),
        ("[1[mm], 1[s]]", "unit_mismatch", "in one list"),
        ("length ** n", "unit_mismatch", "number as written"),
        ("length ** 0.3333", "unit_mismatch", "no quantity any more"),
        ("length ** 20", "unit_mismatch", "at most 12"),
        ("exp(length)", "expression_wrong_type", "pure numbers"),
        ("round(length)", "expression_wrong_type", r"1\[mm\]"),
        ("ok + 1", "expression_wrong_type", "true or false cannot be added"),
        ("grade < 'a'", "expression_wrong_type", "compared by <"),
        ("'3 mm' + '4 mm'", "expression_wrong_type", r"5\[mm\]"),
        ("n and ok", "expression_wrong_type", "expected true or false"),
        ("stresses == stresses", "expression_wrong_type", "compared by =="),
        ("stresses * 2", "expression_wrong_type", "a list of which each is a pressure"),
        ("anything > 1", "expression_wrong_type", "give it a type"),
        ("mesh", "expression_wrong_type", "give it a type"),
        ("stresses[0.5]", "expression_wrong_type", "whole number"),
        ("n[0]", "expression_wrong_type", "no place"),
        ("n.size", "expression_wrong_type", "no field"),
        ("sqrt(1, 2)", "expression_wrong_type", "takes 1 argument"),
        ("lenght", "expression_unknown_name", "Did you mean length"),
        ("load.G", "expression_unknown_name", "Known here: F, offset"),
        ("length < '3 kg'", "unit_mismatch", "a mass"),
        ("length < 'S235'", "not_a_quantity", r"210\[MPa\]"),
    ],
)
def test_what_cannot_hold_is_refused_before_it_runs(text: str, code: str, said_in: str) -> None:
    with pytest.raises(ExpressionError, match=said_in) as refused:
        infer(parse(text), TYPES)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("text", "code", "said_in"),
    [
        ("", "expression_invalid", "empty"),
        ("1 +", "expression_invalid", "Character 4: expected a value, found the end"),
        ("1,5", "expression_invalid", "A decimal mark is a point"),
        ("x = 3", "expression_invalid", "== compares"),
        ("3x", "expression_invalid", r"3 \* x"),
        ("3 [mm", "expression_invalid", r"210\[MPa\]"),
        ("3 [bananas]", "unknown_unit", "bananas"),
        ("3[W/m.K]", "ambiguous_quantity", "two readings"),
        ("-1[K] + 1[degC] * 1[degC] - 3[m s", "expression_invalid", "unit"),
        ("'abc", "expression_invalid", "quote is not closed"),
        ("`abc", "expression_invalid", "backquotes"),
        ("[]", "expression_invalid", "at least one item"),
        ("(1", "expression_invalid", "parenthesis"),
        ("1 if ok", "expression_invalid", "else"),
        ("a not b", "expression_invalid", "operator or the end"),
        ("x.", "expression_invalid", "name of a field"),
        ("__import__('os')", "expression_unknown_function", "no function"),
        ("lambda: 1", "expression_invalid", "has no meaning"),
        ("[y for y in x]", "expression_invalid", "a comma or"),
        ("open", "expression_unknown_name", "nothing that can be read"),
        ("\x00", "expression_invalid", "NUL"),
        ("9" * 30, "expression_overflow", "too large"),
        ("1e999", "expression_overflow", "too large"),
        ("1e-99999999", "expression_overflow", "too small"),
        ("1" * 41, "expression_too_long", "40 characters"),
        ("1" + " " * 5000, "expression_too_long", "4096"),
        ("(" * 101 + "1" + ")" * 101, "expression_too_deep", "nested"),
        ("-" * 60 + "1", "expression_too_deep", "nested"),
        ("not " * 60 + "ok", "expression_too_deep", "nested"),
        ("x" + "[0]" * 60, "expression_too_deep", "nested"),
        ("x" + ".y" * 60, "expression_too_deep", "nested"),
        ("2" + "**2" * 60, "expression_too_deep", "nested"),
        ("1" + " if ok else 1" * 60, "expression_too_deep", "nested"),
        ("+".join(["1"] * 600), "expression_too_deep", "500 parts"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, code: str, said_in: str) -> None:
    with pytest.raises(ExpressionError, match=said_in) as refused:
        infer(parse(text), TYPES)
    assert refused.value.code == code
    assert refused.value.problems[0].code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1 / (n - 3)", "expression_division_by_zero"),
        ("n % 0", "expression_division_by_zero"),
        ("0.0 ** -1", "expression_division_by_zero"),
        ("9 ** 9 ** 9", "expression_overflow"),
        ("2 ** 63", "expression_overflow"),
        ("2.0 ** 5000", "expression_overflow"),
        ("exp(1000)", "expression_overflow"),
        ("1e308 * 10", "expression_overflow"),
        ("floor(1e300)", "expression_overflow"),
        ("sum([n, 9223372036854775807])", "expression_overflow"),
        ("sqrt(-x)", "expression_domain"),
        ("log(0)", "expression_domain"),
        ("(-x) ** 0.5", "expression_domain"),
        ("asin(2)", "expression_domain"),
        ("isclose(1, 1, -1)", "expression_domain"),
        ("stresses[2]", "expression_index"),
        ("factors.j", "expression_index"),
        ("load.offset", "expression_missing_value"),
        ("table[0]", "expression_wrong_type"),
    ],
)
def test_what_cannot_be_computed_ends_with_a_code(text: str, code: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        evaluate(parse(text), VALUES, TYPES)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("Float", "3", "expression_wrong_type"),
        ("Float", True, "expression_wrong_type"),
        ("Float", None, "expression_missing_value"),
        ("Float", float("nan"), "expression_overflow"),
        ("Float", 10**400, "expression_overflow"),
        ("Integer", 2.5, "expression_wrong_type"),
        ("Boolean", 1, "expression_wrong_type"),
        ("String", 1, "expression_wrong_type"),
        ("list[Float]", {"a": 1}, "expression_wrong_type"),
        ("dict[str, Float]", [1], "expression_wrong_type"),
        ("Torsor", [1], "expression_wrong_type"),
        ("Matrix", [[1], "a"], "expression_wrong_type"),
        ("list[Float]", [1.0] * 1_000_001, "expression_too_slow"),
    ],
)
def test_a_value_that_came_past_its_type_is_refused(kind: str, value: Any, code: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        evaluate(parse("v"), {"v": value}, {"v": parse_type(kind)})
    assert refused.value.code == code


def test_long_lists_are_not_walked_again_and_again() -> None:
    text = "[" + ", ".join(["sum(v)"] * 200) + "]"
    with pytest.raises(ExpressionError, match="1000000 steps") as refused:
        evaluate(parse(text), {"v": [1.0] * 100_000}, {"v": parse_type("list[Float]")})
    assert refused.value.code == "expression_too_slow"


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("force / 4[mm^2]", "Float[MPa]", 250.0),
        ("force / 4[mm^2]", "Stress", 2.5e8),
        ("[length, width]", "list[Float[mm]]", [1500.0, 500.0]),
        ("load", "{F: Force, offset?: Length}", {"F": 5.0}),
        ("torsor", "Torsor", {"force": [1.0, 2.0, 3.0], "moment": [4.0, 5.0, 6.0]}),
        ("n", "Float", 3.0),
        ("n + 1", "Integer", 4),
        ("0", "Length", 0.0),
        ("'b' if ok else 'c'", "literal[b, c]", "b"),
        ("[1, 2, 3.5]", "Vector3", [1.0, 2.0, 3.5]),
        ("factors", "dict[str, Float]", {"k": 2.0}),
        ("length / width", "Angle", 3.0),
    ],
)
def test_the_result_is_in_the_unit_of_its_type(text: str, wanted: str, found: Any) -> None:
    assert check(parse(text), TYPES, parse_type(wanted)).evaluate(VALUES) == found


@pytest.mark.parametrize(
    ("text", "wanted", "code", "said_in"),
    [
        ("length", "Time", "unit_mismatch", r"a length \(m\), Time is in s"),
        ("length", "Float", "unit_mismatch", r"Float\[m\]"),
        ("x", "Length", "unit_mismatch", r"multiply it by 1\[m\]"),
        ("x", "Integer", "unit_mismatch", "round"),
        ("ok", "String", "expression_wrong_type", "true or false"),
        ("load", "{F: Force}", "expression_wrong_type", "with F, offset"),
        ("1", "File", "unit_mismatch", "cannot be the result"),
        ("1", "Object", "unit_mismatch", "cannot be the result"),
    ],
)
def test_a_result_of_another_kind_is_refused(text: str, wanted: str, code: str, said_in: str) -> None:
    with pytest.raises(ExpressionError, match=said_in) as refused:
        check(parse(text), TYPES, parse_type(wanted))
    assert refused.value.code == code


def test_a_choice_holds_what_it_gives() -> None:
    checked = check(parse("grade"), TYPES, parse_type("literal[S355, S460]"))
    with pytest.raises(ExpressionError, match="allowed are"):
        checked.evaluate(VALUES)


def test_values_of_a_package_are_in_its_units() -> None:
    """In mm-N-MPa 9 is nine millimetres, and comes out as such."""
    types = {"a": parse_type("Length"), "k": parse_type("Float[N/m]")}
    checked = check(parse("a + 1[mm]"), types, parse_type("Length"), UnitSystem.MM_N_MPA)
    assert checked.evaluate({"a": 9}) == pytest.approx(10.0)
    assert check(parse("a * k < 0.1[N]"), types, None, UnitSystem.MM_N_MPA).evaluate({"a": 9, "k": 10}) is True


def test_a_word_of_the_language_can_be_a_name_in_backquotes() -> None:
    types = {"if": parse_type("Float"), "pi": parse_type("Float")}
    assert evaluate(parse("`if` + pi"), {"if": 1.0, "pi": 3.0}, types) == 4.0


def test_it_says_what_it_reads() -> None:
    expression = parse("max(a, b) + a * c.d if not e else pi")
    assert set(expression.names) == {"a", "b", "c", "e", "pi"}
    assert said(infer(parse("force / 1[m^3]"), TYPES)) == "a quantity (kg/(m^2*s^2))"


def test_the_page_shows_what_holds() -> None:
    blocks = re.findall("```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
