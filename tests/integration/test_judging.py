"""What tenants' code wrote is judged within bounds: large results get the verdicts of small ones, or a clear error."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import InvalidInputError, MalformedError, MecapyError, TooLargeError
from mecapy_platform.core.testcases import TestCase
from mecapy_platform.core.values import check_outputs
from mecapy_platform.worker.judging import SMALL_BYTES, Judge

MIB = 1 << 20
PORTS: dict[str, dict[str, Any]] = {"a": {"type": "Float"}, "more": {"type": "Object", "required": False}}


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    made = Judge(Bounds(seconds=60, memory_bytes=1 << 30))
    yield made
    made.close()


@pytest.fixture(scope="module")
def narrow() -> Iterator[Judge]:
    made = Judge(Bounds(seconds=2, memory_bytes=64 << 20))
    yield made
    made.close()


def large(text: bytes) -> bytes:
    return text.ljust(SMALL_BYTES + 1)


def test_a_large_result_is_taken_as_a_small_one(judge: Judge) -> None:
    values = {"a": 3, "more": {"list": list(range(100_000)), "text": "\u00e9"}}
    judged = judge.outputs(PORTS, json.dumps(values).encode(), 16 * MIB, units="SI")
    assert judged.values is None
    assert judged.read() == check_outputs(PORTS, json.dumps(values).encode(), 16 * MIB)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        (b'{"a": "x"}', InvalidInputError),
        (b"{}", InvalidInputError),
        (b"[]", InvalidInputError),
        (b'{"a": 1, "a": 2}', MalformedError),
        (b'{"a": NaN}', MalformedError),
        (b'{"a": ' + b"[" * 100_000, MalformedError),
        (b'{"a": 1e999}', MalformedError),
        (b" " * (17 * MIB), TooLargeError),
    ],
)
def test_a_large_result_is_refused_as_a_small_one(judge: Judge, text: bytes, family: type[MecapyError]) -> None:
    with pytest.raises(family) as expected:
        check_outputs(PORTS, text, 16 * MIB)
    with pytest.raises(family) as caught:
        judge.outputs(PORTS, large(text), 16 * MIB, units="SI")
    assert (caught.value.code, caught.value.problems) == (expected.value.code, expected.value.problems)


@pytest.mark.parametrize("unit", [b"[],", b'{"":1},', b"1e300,"], ids=["lists", "objects", "numbers"])
def test_what_takes_too_much_to_read_is_its_authors_error(narrow: Judge, unit: bytes) -> None:
    filled = unit * (15 * MIB // len(unit))
    with pytest.raises(InvalidInputError) as caught:
        narrow.outputs(PORTS, b'{"a": 1, "more": {"list": [' + filled + b"1]}}", 16 * MIB, units="SI")
    assert caught.value.code == "result_too_complex"
    with pytest.raises(InvalidInputError) as caught:
        narrow.testcases((b'{"test_cases": [' + unit * MIB)[: 4 * MIB - 2].rstrip(b",") + b"]}", "cases.json")
    assert caught.value.code in {"testcases_too_complex", "testcases_invalid", "testcases_unreadable"}


def test_test_cases_are_compared_with_large_results(judge: Judge) -> None:
    values: dict[str, Any] = {"a": 3, "more": {"list": list(range(100_000))}}
    judged = judge.outputs(PORTS, json.dumps(values).encode(), 16 * MIB, units="SI")
    assert judge.compare(TestCase("same", None, expected=values), judged) == []
    values["more"]["list"][7] = 8
    differences = judge.compare(TestCase("other", None, expected=values), judged)
    assert differences == ["more.list[7]: expected 8, got 7 (difference 1, allowed 0)"]
    cases = [{"name": str(number), "inputs": {"a": "x" * 100}, "expected": {}} for number in range(900)]
    assert len(judge.testcases(json.dumps({"test_cases": cases}).encode(), "cases.json")) == 900
