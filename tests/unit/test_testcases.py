"""Test cases of packages: both layouts, and comparing."""

import json
from typing import Any

import pytest

from mecapy_platform.core.errors import InvalidInputError, MalformedError
from mecapy_platform.core.testcases import TestCase, compare, exception_matches, parse_testcases


def parse(whole: Any) -> list[TestCase]:
    return parse_testcases(json.dumps(whole).encode(), file="tests/a.json")


def test_the_layout_with_function_is_read() -> None:
    cases = [
        {"name": "a", "inputs": {"d": 1}, "expected_outputs": {"s": 2}},
        {"name": "b", "inputs": {}, "expected_exception": "ValueError"},
    ]
    assert parse({"function": "m:f", "test_cases": cases}) == [
        TestCase("a", "m:f", {"d": 1}, {"s": 2}),
        TestCase("b", "m:f", {}, None, "ValueError"),
    ]


def test_the_layout_with_handler_is_read() -> None:
    case = {"name": "a", "request": {"d": 1}, "expected": {"s": 2}, "tolerance": {"numeric": 0.1}}
    assert parse({"handler": "m:f", "test_cases": [case]}) == [TestCase("a", "m:f", {"d": 1}, {"s": 2}, tolerance=0.1)]


def test_a_bare_expectation_is_the_port_result() -> None:
    assert parse({"test_cases": [{"name": "a", "expected": 3}]})[0].expected == {"result": 3}


@pytest.mark.parametrize(
    ("case", "path", "code"),
    [
        ({"name": "a"}, "test_cases[0]", "no_expectation"),
        ({"name": "a", "expected": {}, "expected_exception": "E"}, "test_cases[0]", "two_expectations"),
        ({"name": 1, "expected": {}}, "test_cases[0].name", "wrong_type"),
        ({"name": "a", "inputs": [], "expected": {}}, "test_cases[0].inputs", "wrong_type"),
        ({"name": "a", "expected": {}, "tolerance": {"numeric": -1}}, "test_cases[0].tolerance", "wrong_type"),
        ({"name": "a", "expected": {}, "tolerance": {"nummeric": 1}}, "test_cases[0].tolerance", "wrong_type"),
        ({"name": "a", "expected": {}, "expects": 1}, "test_cases[0].expects", "unknown_key"),
        (3, "test_cases[0]", "wrong_type"),
    ],
)
def test_a_wrong_case_is_refused_with_its_path(case: Any, path: str, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse({"test_cases": [case]})
    assert (path, code) in [(problem.path, problem.code) for problem in caught.value.problems]


def test_what_is_no_json_is_malformed() -> None:
    with pytest.raises(MalformedError, match=r"tests/a\.json"):
        parse_testcases(b"{", file="tests/a.json")


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "said"),
    [
        ({"a": 1.0}, {"a": 1.05, "b": 3}, 0.1, None),
        ({"a": 1.0}, {"a": 1.2}, 0.1, "a: expected 1.0, got 1.2"),
        ({"a": 1.0}, {}, 0.1, "a: missing"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, 0.5, "a.b[1]: expected 2, got 3"),
        ({"a": [1]}, {"a": [1, 2]}, 0.5, "expected 1 items, got 2"),
        ({"a": "x"}, {"a": "y"}, 9, "a: expected text ('x'), got text ('y')"),
        ({"a": True}, {"a": 1}, 9, "a: expected"),
        ({"a": None}, {"a": None}, 0, None),
        ({"a": 0.1}, {"a": 0.1 + 1e-17}, 0, None),
        ({"a": {}}, {"a": 3}, 0, "expected an object"),
    ],
)
def test_only_expected_keys_are_compared_and_numbers_within_the_tolerance(
    expected: Any, actual: Any, tolerance: float, said: str | None
) -> None:
    found = compare(expected, actual, tolerance)
    assert (found == []) if said is None else (said in found[0])


def test_exceptions_match_by_class_name() -> None:
    assert exception_matches("ValueError", "ValueError")
    assert exception_matches("BoltError", "bolts.BoltError")
    assert not exception_matches("ValueError", "TypeError")
    assert not exception_matches("ValueError", None)
