"""Test cases of a package: reads both layouts in the field, and compares what came out with what was expected."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, MalformedError, Problem, TooLargeError
from mecapy_platform.core.json_text import JsonError, loads
from mecapy_platform.core.value_reader import said

MAX_BYTES = 4 << 20
MAX_CASES = 1000
MAX_DIFFERENCES = 1000
RELATIVE = 1e-9
TOP_KEYS = frozenset({"function", "handler", "test_cases", "description"})
CASE_KEYS = frozenset(
    {"name", "description", "inputs", "request", "expected_outputs", "expected", "expected_exception", "tolerance"}
)


@dataclass(frozen=True)
class TestCase:
    """One case.

    `handler` is what the file names ("module:function"); `inputs` of File ports are paths inside the package.
    """

    __test__ = False  # no class of tests, whatever pytest makes of its name

    name: str
    handler: str | None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] | None = None
    expected_exception: str | None = None
    tolerance: float = 0.0


def parse_testcases(text: bytes, *, file: str = "") -> list[TestCase]:
    """Read a file of test cases in either layout.

    Raises
    ------
    MalformedError
        "testcases_unreadable" when it is no JSON.
    InvalidInputError
        "testcases_invalid" with every problem and its path.
    """
    if len(text) > MAX_BYTES:
        raise TooLargeError("testcases_too_large", f"{file} is larger than {MAX_BYTES >> 20} MiB.")
    try:
        whole = loads(text)
    except JsonError as error:
        raise MalformedError("testcases_unreadable", f"{file} cannot be read: {error}") from error
    problems: list[Problem] = []
    cases = _file(whole, problems)
    if problems:
        raise InvalidInputError(
            "testcases_invalid", f"{file} has {len(problems)} problems: {problems[0].message}", problems=problems
        )
    return cases


def _file(whole: Any, problems: list[Problem]) -> list[TestCase]:
    if not isinstance(whole, dict) or not isinstance(whole.get("test_cases"), list):
        problems.append(
            Problem(
                "test_cases",
                "wrong_type",
                'The file is an object with "handler" or "function", and a list "test_cases".',
            )
        )
        return []
    problems.extend(Problem(key, "unknown_key", f"Unknown key {key[:80]!r}.") for key in whole.keys() - TOP_KEYS)
    handler = whole.get("handler", whole.get("function"))
    if handler is not None and not isinstance(handler, str):
        problems.append(Problem("handler", "wrong_type", "handler must be text, such as bolts:size."))
        handler = None
    written = whole["test_cases"]
    if not 1 <= len(written) <= MAX_CASES:
        problems.append(Problem("test_cases", "out_of_range", f"There must be 1 to {MAX_CASES} test cases."))
        return []
    return [
        case
        for index, item in enumerate(written)
        if (case := _case(item, handler, f"test_cases[{index}]", problems)) is not None
    ]


def _case(written: Any, handler: str | None, path: str, problems: list[Problem]) -> TestCase | None:
    if not isinstance(written, dict):
        problems.append(Problem(path, "wrong_type", "A test case is an object."))
        return None
    before = len(problems)
    problems.extend(
        Problem(f"{path}.{key}", "unknown_key", f"Unknown key {key[:80]!r}.") for key in written.keys() - CASE_KEYS
    )
    name = written.get("name", path)
    inputs = written.get("inputs", written.get("request", {}))
    raised = written.get("expected_exception")
    expected = written.get("expected_outputs", written.get("expected"))
    has_values = "expected_outputs" in written or "expected" in written
    if not isinstance(name, str):
        problems.append(Problem(f"{path}.name", "wrong_type", "name must be text."))
    if not isinstance(inputs, dict):
        problems.append(Problem(f"{path}.inputs", "wrong_type", "inputs must be an object keyed by port."))
    if raised is not None and not isinstance(raised, str):
        problems.append(
            Problem(
                f"{path}.expected_exception",
                "wrong_type",
                "expected_exception is the name of a class, such as ValueError.",
            )
        )
    if has_values == (raised is not None):
        message = "A test case has either expected outputs or expected_exception."
        problems.append(Problem(path, "no_expectation" if raised is None else "two_expectations", message))
    tolerance = _tolerance(written.get("tolerance"), path, problems)
    if len(problems) > before or not isinstance(inputs, dict) or not isinstance(name, str):
        return None
    if has_values and not isinstance(expected, dict):
        expected = {"result": expected}
    return TestCase(name, handler, inputs, expected if has_values else None, raised, tolerance)


def _tolerance(written: Any, path: str, problems: list[Problem]) -> float:
    value = written.get("numeric", 0.0) if isinstance(written, dict) and written.keys() <= {"numeric"} else written
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        problems.append(
            Problem(
                f"{path}.tolerance", "wrong_type", 'tolerance is {"numeric": number}, the absolute difference allowed.'
            )
        )
        return 0.0
    return float(value)


def compare(expected: Mapping[str, Any], actual: Mapping[str, Any], tolerance: float) -> list[str]:
    """What differs, in a person's words; empty when all expected keys agree.

    Only the keys of `expected` are compared. Numbers agree within the absolute `tolerance`, or within 1e-9 of their
    size, which is what rounding alone may do.
    """
    return _compare(expected, actual, tolerance, "")


def exception_matches(expected: str, raised: str | None) -> bool:
    """By class name; what stands before the last dot counts only where both give it."""
    if raised is None:
        return False
    return (
        expected == raised
        or ("." not in expected and raised.rpartition(".")[2] == expected)
        or expected.rpartition(".")[2] == raised
    )


def _compare(expected: Any, actual: Any, tolerance: float, path: str) -> list[str]:
    if isinstance(expected, Mapping):
        return _compare_objects(expected, actual, tolerance, path)
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return _compare_lists(expected, actual, tolerance, path)
    if _is_number(expected) and _is_number(actual):
        if math.isclose(expected, actual, rel_tol=RELATIVE, abs_tol=tolerance):
            return []
        difference = f"difference {abs(expected - actual):.6g}, allowed {tolerance:.6g}"
        return [f"{path}: expected {expected}, got {actual} ({difference})"]
    same = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
    return [] if same else [f"{path}: expected {said(expected)}, got {said(actual)}"]


def _compare_objects(expected: Mapping[str, Any], actual: Any, tolerance: float, path: str) -> list[str]:
    if not isinstance(actual, Mapping):
        return [f"{path or 'result'}: expected an object, got {said(actual)}"]
    found = []
    for key, value in expected.items():
        here = f"{path}.{key}" if path else key
        found += _compare(value, actual[key], tolerance, here) if key in actual else [f"{here}: missing"]
    return found


def _compare_lists(expected: Sequence[Any], actual: Any, tolerance: float, path: str) -> list[str]:
    if not isinstance(actual, Sequence) or isinstance(actual, str):
        return [f"{path}: expected a list, got {said(actual)}"]
    if len(expected) != len(actual):
        return [f"{path}: expected {len(expected)} items, got {len(actual)}"]
    pairs = enumerate(zip(expected, actual, strict=True))
    return [
        difference
        for index, (one, other) in pairs
        for difference in _compare(one, other, tolerance, f"{path}[{index}]")
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
