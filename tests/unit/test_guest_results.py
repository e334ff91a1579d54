"""What the values of Python, its standard library and NumPy become in out/data.json. The guest's own code, run here."""

import array
import enum
import importlib
import json
import sys
import types
from collections import ChainMap, OrderedDict, UserDict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from pydantic import BaseModel

from mecapy_platform.sandbox import guest


@pytest.fixture(scope="module")
def results() -> Iterator[Any]:
    """The guest's modules under the name they have inside."""
    stand_in = types.ModuleType("_mecapy_guest")
    stand_in.__path__ = list(guest.__path__)
    before = dict(sys.modules)
    sys.modules["_mecapy_guest"] = stand_in
    yield importlib.import_module("_mecapy_guest.results")
    for name in set(sys.modules) - set(before):
        if name.startswith("_mecapy_guest"):
            del sys.modules[name]


class Grade(enum.Enum):
    S235 = "S235"
    S355 = 355
    OTHER = (1, 2)
    AUTO = True


class Size(enum.IntEnum):
    M8 = 8


class Surface(str, enum.Enum):  # noqa: UP042 - as it is written in the field
    ROUGH = "rough"


class Weight(float, enum.Enum):
    LIGHT = 1.5


class Stiff(enum.Flag):
    X = 1
    Y = 2


@dataclass
class Point:
    x: Any
    y: Any = 0


class Pair(NamedTuple):
    a: int
    b: Any


class Model(BaseModel):
    load: float
    grade: Grade = Grade.S235


class Own(float):
    pass


Old = namedtuple("Old", "first second")  # noqa: PYI024 - as it is met in the field
MASKED = np.ma.masked_array([1.0, 2.0], mask=[False, True])
RECORD = np.array([(1, 2.5)], dtype=[("n", int), ("f", float)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.bool_(True), True),
        (np.bool_(False), False),
        (np.array([True, False]), [True, False]),
        ({"deep": [np.bool_(True)]}, {"deep": [True]}),
        (np.int8(-3), -3),
        (np.uint64(7), 7),
        (np.float32(0.5), 0.5),
        (np.float64(2), 2.0),
        (np.longdouble("1.5"), 1.5),
        (np.str_("text"), "text"),
        (np.array(3.5), 3.5),
        (np.array(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([[0.5], [1.5]]), [[0.5], [1.5]]),
        (np.array([1.5], dtype=np.longdouble), [1.5]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([Point(1), None], dtype=object), [{"x": 1, "y": 0}, None]),
        (MASKED, [1.0, None]),
        (RECORD, [{"n": 1, "f": 2.5}]),
        (np.datetime64("2026-03-04T05:06:07.000000001"), "2026-03-04T05:06:07.000000001"),
        (np.timedelta64(1500, "ms"), 1.5),
        (np.arange(3), [0, 1, 2]),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 4), 0.25),
        (Own(2.5), 2.5),
        (True, True),
        (None, None),
        (date(2026, 3, 4), "2026-03-04"),
        (datetime(2026, 3, 4, 5, 6, tzinfo=UTC), "2026-03-04T05:06:00+00:00"),
        (time(5, 6), "05:06:00"),
        (timedelta(minutes=2), 120.0),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ip_address("192.0.2.1"), "192.0.2.1"),
        (Grade.S235, "S235"),
        (Grade.S355, 355),
        (Grade.OTHER, "OTHER"),
        (Grade.AUTO, True),
        (Size.M8, 8),
        (Surface.ROUGH, "rough"),
        (Weight.LIGHT, 1.5),
        (Stiff.X | Stiff.Y, 3),
        ({Surface.ROUGH: 1, Grade.S235: 2}, {"rough": 1, "S235": 2}),
        (Point(Point(1.0), (2,)), {"x": {"x": 1.0, "y": 0}, "y": [2]}),
        (Pair(1, [np.bool_(False)]), {"a": 1, "b": [False]}),
        (Old(1, 2), {"first": 1, "second": 2}),
        (Model(load=2), {"load": 2.0, "grade": "S235"}),
        (SimpleNamespace(a=1), {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (UserDict(a=1), {"a": 1}),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (array.array("d", [0.5]), [0.5]),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_value_keeps_its_meaning(results: Any, value: Any, expected: Any) -> None:
    found = json.loads(results.to_json({"out": value}, "/none"))["out"]
    assert same(found, expected), found


def same(found: Any, expected: Any) -> bool:
    """Equal, and true is not 1."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected and isinstance(found, bool) == isinstance(expected, bool)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "nan is not a number"),
        (np.float64("inf"), "inf is not a number"),
        (np.float32("nan"), "nan is not a number"),
        (np.array([[0.0, 1.0], [2.0, np.nan]]), "Output out[1][1]: nan"),
        (Decimal("NaN"), "nan is not a number"),
        (Decimal("1e400"), "1e+400 is not a number"),
        (np.longdouble("1e4000"), "is not a number"),
        (Fraction(10**400), "inf is not a number"),
        (np.datetime64("NaT"), "NaT"),
        (np.timedelta64("NaT"), "is not a number"),
        (1j, "type complex"),
        (np.complex128(1j), "type complex128 has no JSON form. Return its real"),
        (np.array([1j]), "Output out[0]: a value of type complex128"),
        (b"x", "out/files"),
        (bytearray(b"x"), "out/files"),
        (np.bytes_(b"x"), "out/files"),
        ({1, 2}, "sorted list"),
        ((number for number in range(2)), "list(value)"),
        ([Path("a.txt")], "output of its own"),
        ({1: 2}, "keys must be text"),
        ("a\0", "NUL"),
        (object(), "type object"),
        (sys.modules["json"], "type module"),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0][:50],
)
def test_what_has_no_meaning_in_json_is_refused_and_says_what_to_do(results: Any, value: Any, words: str) -> None:
    with pytest.raises(results.ResultError) as caught:
        results.to_json({"out": value}, "/none")
    assert words in str(caught.value)
    assert "Output out" in str(caught.value)


@pytest.mark.parametrize("answer", [Point(1, 2), Model(load=1), {"x": 1}])
def test_an_answer_with_fields_is_the_outputs_by_name(results: Any, answer: Any) -> None:
    assert "result" not in json.loads(results.to_json(answer, "/none"))


@pytest.mark.parametrize("answer", [np.bool_(True), Pair(1, 2), Grade.S235, [1], None])
def test_any_other_answer_is_the_output_result(results: Any, answer: Any) -> None:
    assert list(json.loads(results.to_json(answer, "/none"))) == ["result"]
