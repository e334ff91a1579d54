"""Values against ports: inputs, outputs, and the JSON they come in."""

from typing import Any

import pytest

from mecapy_platform.core.errors import InvalidInputError, MalformedError, MecapyError, TooLargeError
from mecapy_platform.core.values import check_inputs, check_outputs


def ports(**kinds: str) -> dict[str, dict[str, Any]]:
    """`name="Type"`; a name ending in `_` is not required."""
    return {
        name.rstrip("_"): {"type": kind, "description": None, "required": not name.endswith("_")}
        for name, kind in kinds.items()
    }


def read(kind: str, value: Any) -> Any:
    return check_inputs(ports(x=kind), {"x": value}, {})["x"]


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        ("Length", "12 mm", 0.012),
        ("Length", 0.5, 0.5),
        ("Integer", 3.0, 3),
        ("Float", 3, 3),
        ("Boolean", True, True),
        ("String", "a", "a"),
        ("Vector3", [1, 2, 3], [1, 2, 3]),
        ("Force3", ["1 kN", 0, 0], [1000, 0, 0]),
        ("Torsor", {"F": [1, 2, 3], "M": [4, 5, 6]}, {"force": [1, 2, 3], "moment": [4, 5, 6]}),
        ("{F: Force3, M: Moment3}", {"force": [1, 2, 3], "moment": [4, 5, 6]}, {"F": [1, 2, 3], "M": [4, 5, 6]}),
        ("Matrix", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ("list[Length]", ["1 m", 2], [1, 2]),
        ("dict[str, Force]", {"a": "1 kN"}, {"a": 1000}),
        ("{a: {b: Length}}", {"a": {"b": "1 m"}}, {"a": {"b": 1}}),
        ("literal[8.8, 10.9]", 8.8, 8.8),
        ("literal[8.8, 10.9]", "10.9", 10.9),
        ("literal[steel]", "steel", "steel"),
        ("Object", {"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
    ],
)
def test_a_fitting_value_passes(kind: str, value: Any, result: Any) -> None:
    assert read(kind, value) == result


@pytest.mark.parametrize(
    ("kind", "value", "code", "path"),
    [
        ("Length", "12 kg", "unit_mismatch", "x"),
        ("Length", "12 bananas", "unknown_unit", "x"),
        ("Length", [], "wrong_type", "x"),
        ("Length", True, "wrong_type", "x"),
        ("Length", None, "wrong_type", "x"),
        ("Float", "12 mm", "wrong_type", "x"),
        ("Float", float("nan"), "not_finite", "x"),
        ("Float", float("-inf"), "not_finite", "x"),
        ("Integer", 2.5, "wrong_type", "x"),
        ("Integer", 2**70, "out_of_range", "x"),
        ("Boolean", 1, "wrong_type", "x"),
        ("String", 1, "wrong_type", "x"),
        ("String", "a\0", "bad_text", "x"),
        ("Vector3", [1, 2], "wrong_type", "x"),
        ("Force3", [1, 2, "x"], "not_a_quantity", "x[2]"),
        ("Torsor", {"F": [1, 2, 3]}, "missing_field", "x.force"),
        ("Matrix", [[1, 2], [3]], "wrong_type", "x"),
        ("Matrix", [], "wrong_type", "x"),
        ("list[Length]", [1, "2 kg"], "unit_mismatch", "x[1]"),
        ("list[Length]", "1 m", "wrong_type", "x"),
        ("dict[str, Force]", {"a": "1 m"}, "unit_mismatch", "x.a"),
        ("{a: Length}", {}, "missing_field", "x.a"),
        ("{a: Length}", {"a": 1, "b": 2}, "unknown_field", "x.b"),
        ("literal[8.8]", 9, "not_allowed", "x"),
        ("literal[1]", True, "not_allowed", "x"),
        ("File", "path", "file_expected", "x"),
        ("Object", {"a": float("nan")}, "not_finite", "x.a"),
    ],
)
def test_an_unfitting_value_is_refused_by_code_and_path(kind: str, value: Any, code: str, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(kind, value)
    assert (path, code) in [(problem.path, problem.code) for problem in caught.value.problems]


def test_all_problems_come_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_inputs(
            ports(a="Length", b="Force", f="File", g="File"), {"b": "1 m", "c": 1}, {"b": "upload", "g": "upload"}
        )
    assert caught.value.code == "inputs_invalid"
    assert {(problem.path, problem.code) for problem in caught.value.problems} == {
        ("b", "unit_mismatch"),
        ("c", "unknown_input"),
        ("a", "missing_input"),
        ("f", "missing_input"),
        ("b", "no_file_port"),
    }


def test_optional_inputs_may_be_absent_or_null_and_free_ones_pass() -> None:
    assert check_inputs(ports(a_="Length", b_="Length"), {"b": None}, {}) == {}
    assert check_inputs({}, {"anything": {"a": 1}}, {}, free=True) == {"anything": {"a": 1}}


def test_deep_inputs_are_refused_without_recursion() -> None:
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInputError) as caught:
        check_inputs(ports(x="Object"), {"x": deep}, {})
    assert caught.value.problems[0].code == "too_deep"


OUTPUTS = ports(stress="Stress", report="File", note_="String")


def test_outputs_that_fit_pass_and_extra_ones_are_kept() -> None:
    assert check_outputs(OUTPUTS, b'{"stress": 1e6, "extra": [1]}', 100) == {"stress": 1e6, "extra": [1]}
    assert check_outputs({}, b'{"a": 1}', 100) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "family", "code"),
    [
        (b'{"stress": NaN}', MalformedError, "result_not_finite"),
        (b'{"stress": -Infinity}', MalformedError, "result_not_finite"),
        (b'{"stress": 1e999}', MalformedError, "result_not_finite"),
        (b'{"stress": 1, "stress": 2}', MalformedError, "result_duplicate_key"),
        (b'{"stress": ' + b"9" * 5000 + b"}", MalformedError, "result_out_of_range"),
        (b'{"stress": ' + b"9" * 100 + b"}", InvalidInputError, "outputs_invalid"),
        (b'{"stress": ' + b"[" * 100_000, MalformedError, "result_too_deep"),
        (b"{", MalformedError, "result_not_json"),
        (b"", MalformedError, "result_not_json"),
        (b"\xff{}", MalformedError, "result_not_json"),
        (b"[1]", InvalidInputError, "result_not_an_object"),
        (b"null", InvalidInputError, "result_not_an_object"),
        (b'{"stress": "12 MPa"}', InvalidInputError, "outputs_invalid"),
        (b'{"stress": 1, "_artifacts": {}}', InvalidInputError, "outputs_invalid"),
        (b'{"stress": 1, "a": "\\u0000"}', InvalidInputError, "outputs_invalid"),
        (b"{" + b" " * 200_000 + b"}", TooLargeError, "result_too_large"),
        (b'"' + b'\\"' * 60_000, MalformedError, "result_not_json"),
    ],
)
def test_a_result_that_cannot_be_taken_is_an_error_by_code(text: bytes, family: type[MecapyError], code: str) -> None:
    with pytest.raises(family) as caught:
        check_outputs(OUTPUTS, text, 150_000)
    assert caught.value.code == code


def test_a_missing_output_names_its_port() -> None:
    with pytest.raises(InvalidInputError, match="no stress") as caught:
        check_outputs(OUTPUTS, b"{}", 100)
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [("stress", "missing_output")]
