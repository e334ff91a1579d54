"""Annotations that people write: the port that each becomes, and what the handler is given for a value of it."""

import enum
import importlib
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import BaseModel, Field

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.manifest import ports_from_signature
from mecapy_platform.core.values import check_inputs
from mecapy_platform.sandbox import guest


class Grade(enum.Enum):
    S235 = "S235"
    S355 = "S355"


class Auto(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Surface(enum.StrEnum):
    ROUGH = "rough"


class Size(enum.IntEnum):
    M8 = 8
    M10 = 10


@dataclass
class Beam:
    length: float
    grade: Grade = Grade.S235
    loads: list[float] = field(default_factory=list)


@dataclass
class Frame:
    main: Beam
    others: tuple[Beam, ...] = ()
    note: str | None = None


class Bolt(BaseModel):
    diameter: Annotated[float, "Length"]
    grade: Grade = Grade.S355
    count: int = Field(default=1, ge=1)


class Load(TypedDict):
    force: "Force"  # type: ignore[name-defined]  # noqa: F821 - a name of the catalog
    name: NotRequired[str]


class Point(NamedTuple):
    x: float
    y: float = 0.0


Length = NewType("Length", float)
Span = NewType("Span", Length)
Reference = NewType("Reference", str)


@pytest.fixture(scope="module")
def inside() -> Iterator[Any]:
    """The guest's modules under the name they have inside."""
    stand_in = types.ModuleType("_mecapy_guest")
    stand_in.__path__ = list(guest.__path__)
    before = set(sys.modules)
    sys.modules["_mecapy_guest"] = stand_in
    names = ("describe", "arguments")
    yield types.SimpleNamespace(**{name: importlib.import_module(f"_mecapy_guest.{name}") for name in names})
    for name in set(sys.modules) - before:
        if name.startswith("_mecapy_guest"):
            del sys.modules[name]


BEAM = "{length: Float, grade?: literal[S235, S355], loads?: list[Float]}"
CASES = [
    (Grade, "literal[S235, S355]", "S355", Grade.S355),
    (Auto, "literal[LOW, HIGH]", "HIGH", Auto.HIGH),
    (Surface, "literal[rough]", "rough", Surface.ROUGH),
    (Size, "literal[8, 10]", 8, Size.M8),
    (Grade | None, "literal[S235, S355]", "S235", Grade.S235),
    (Optional[Grade], "literal[S235, S355]", "S235", Grade.S235),  # noqa: UP045 - as people write it
    (Literal[Grade.S235], "literal[S235]", "S235", Grade.S235),
    (Literal["a", "b"], "literal[a, b]", "b", "b"),
    (Literal["a", 2], "literal[a, 2]", 2, 2),
    ("Grade", "literal[S235, S355]", "S235", Grade.S235),
    ("Grade | None", "literal[S235, S355]", "S235", Grade.S235),
    ("list[Grade]", "list[literal[S235, S355]]", ["S235"], [Grade.S235]),
    (Length, "Length", "5 mm", 0.005),
    (Span, "Length", "5 mm", 0.005),
    (Reference, "String", "a", "a"),
    (Annotated[float, "Force"], "Force", "2 kN", 2000.0),
    (Annotated[float, "the load", "N/m"], "Float[N/m]", "2 kN/m", 2000.0),
    (Annotated[float, "mm"], "Float[mm]", "1 cm", 10.0),
    (Annotated[float, 3], "Float", 1.5, 1.5),
    (Sequence[float], "list[Float]", [1, 2], [1, 2]),
    (list, "list[Object]", [1, "a"], [1, "a"]),
    (Mapping[str, float], "dict[str, Float]", {"a": 1}, {"a": 1}),
    (dict[Grade, float], "dict[str, Float]", {"S235": 1.5}, {Grade.S235: 1.5}),
    (dict[int, float], "dict[str, Float]", {"1": 1.5}, {1: 1.5}),
    (tuple[float, float], "list[Float]", [1, 2], (1, 2)),
    (tuple[float, float, float], "Vector3", [1, 2, 3], (1, 2, 3)),
    (tuple[float, ...], "list[Float]", [1, 2], (1, 2)),
    (tuple[str, int], "list[Object]", ["a", 2], ("a", 2)),
    (set[int], "list[Integer]", [1, 2, 1], {1, 2}),
    (frozenset[str], "list[String]", ["a"], frozenset("a")),
    (deque[float], "list[Float]", [1.5], deque([1.5])),
    (np.ndarray, "Array", [1, 2], np.array([1.0, 2.0])),
    (np.ndarray, "Array", [[1, 2], [3, 4]], np.array([[1.0, 2.0], [3.0, 4.0]])),
    (npt.NDArray[np.float64], "Array", [1, 2], np.array([1.0, 2.0])),
    (npt.NDArray[np.int64], "Array", [1, 2], np.array([1, 2])),
    (np.ndarray[tuple[int, int], np.dtype[np.float64]], "Matrix", [[1, 2]], np.array([[1.0, 2.0]])),
    (np.ndarray[tuple[int], np.dtype[np.float64]], "list[Float]", [1], np.array([1.0])),
    (float | np.ndarray, "Array", 1.5, 1.5),
    ("np.ndarray | None", "Array", [1], np.array([1.0])),
    (np.float64, "Float", 1.5, np.float64(1.5)),
    (np.int32, "Integer", 2, np.int32(2)),
    (Decimal, "Float", 0.1, Decimal("0.1")),
    (Fraction, "Float", 0.5, Fraction(1, 2)),
    (date, "String", "2026-03-04", date(2026, 3, 4)),
    (datetime, "String", "2026-03-04T05:06:00Z", datetime(2026, 3, 4, 5, 6, tzinfo=UTC)),
    (timedelta, "Time", "2 min", timedelta(minutes=2)),
    (UUID, "String", "00000000-0000-0000-0000-000000000001", UUID(int=1)),
    (Beam, BEAM, {"length": 2}, Beam(2)),
    (Beam, BEAM, {"length": 2, "grade": "S355", "loads": [1]}, Beam(2, Grade.S355, [1])),
    (Beam, BEAM, {"length": 2, "grade": None}, Beam(2)),
    (
        Frame,
        "{main: " + BEAM + ", others?: list[" + BEAM + "], note?: String}",
        {"main": {"length": 1}},
        Frame(Beam(1)),
    ),
    (list[Beam], f"list[{BEAM}]", [{"length": 1}], [Beam(1)]),
    (dict[str, Beam], f"dict[str, {BEAM}]", {"a": {"length": 1}}, {"a": Beam(1)}),
    (
        Bolt,
        "{diameter: Length, grade?: literal[S235, S355], count?: Integer}",
        {"diameter": "8 mm"},
        Bolt(diameter=0.008),
    ),
    (Load, "{force: Force, name?: String}", {"force": "1 kN"}, {"force": 1000.0}),
    (Point, "{x: Float, y?: Float}", {"x": 1}, Point(1)),
    (str | int, None, None, None),
    (bytes, None, None, None),
    (complex, None, None, None),
    (Path | str, "File", None, None),
]


def handler_of(annotation: Any) -> Any:
    def handler(x: Any) -> None:
        raise AssertionError(x)

    handler.__annotations__ = {"x": annotation}
    return handler


def ports_of(inside: Any, annotation: Any) -> Any:
    hint = inside.describe.annotations.hints_of(handler_of(annotation))["x"]
    parameter = {"name": "x", "kind": "keyword", "has_default": False, "annotation": inside.describe.annotation(hint)}
    return ports_from_signature({"parameters": [parameter], "returns": None}).inputs


@pytest.mark.parametrize(
    ("annotation", "kind", "given", "expected"),
    CASES,
    ids=[f"{number}-{case[0]}"[:60] for number, case in enumerate(CASES)],
)
def test_an_annotation_gives_its_port_and_the_handler_what_it_asks_for(
    inside: Any, annotation: Any, kind: str | None, given: Any, expected: Any
) -> None:
    if kind is None:
        with pytest.raises(InvalidInputError) as caught:
            ports_of(inside, annotation)
        assert all(problem.path == "inputs.x" and problem.message for problem in caught.value.problems)
        return
    ports = ports_of(inside, annotation)
    assert ports["x"]["type"] == kind
    if kind == "File":
        return
    checked = check_inputs(ports, {"x": given}, {})
    found = inside.arguments.converted(handler_of(annotation), checked)["x"]
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("annotation", "given", "words"),
    [
        (Grade, "S999", "'S999' is no Grade; allowed are S235, S355"),
        (tuple[float, float], [1, 2, 3], "3 values, but the handler takes 2"),
        (date, "yesterday", "'yesterday' is no date"),
        (np.ndarray, [[1], [1, 2]], "no array of float"),
        (list[Beam], [{"length": 1, "grade": "S9"}], "Input x[0].grade"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_names_its_input(inside: Any, annotation: Any, given: Any, words: str) -> None:
    """Where the manifest declares the port more loosely than the handler is annotated."""
    with pytest.raises(inside.arguments.ArgumentError) as caught:
        inside.arguments.converted(handler_of(annotation), {"x": given})
    assert words in str(caught.value)
    assert str(caught.value).startswith("Input x")


def test_a_name_imported_for_type_checkers_alone_is_found_where_it_comes_from(inside: Any) -> None:
    names: dict[str, Any] = {}
    exec(
        "from __future__ import annotations\ndef handler(x: NDArray[np.float64], y: Sequence[float], z: Nowhere): ...",
        names,
    )
    described = {
        name: inside.describe.annotation(kind)["name"]
        for name, kind in inside.describe.annotations.hints_of(names["handler"]).items()
    }
    assert described == {"x": "ndarray", "y": "Sequence", "z": "Nowhere"}
