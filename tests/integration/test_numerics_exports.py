"""Plots and Parquet of a study: whole, the same each time, and nothing in them that a name could smuggle in."""

import io
import json
import math
import struct
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from arro3.io import read_parquet

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.numerics.plots import MOST_DOTS, plot
from mecapy_platform.numerics.tables import parquet

COLUMNS = [
    {"name": "a", "of": "inputs"},
    {"name": "b", "of": "inputs"},
    {"name": "y", "of": "outputs"},
    {"name": "ok", "expression": "y > -0.5", "role": "criterion"},
]
TYPES = {"a": "Float", "b": "Float", "y": "Float"}
ONE_AT_A_TIME = {"kind": "one_at_a_time", "factors": {"a": "0 .. 1", "b": "0 .. 2"}}


def rows(count: int) -> Iterator[bytes]:
    for index in range(count):
        a, b = math.sin(index), math.cos(3 * index)
        yield json.dumps({"index": index, "inputs": {"a": a, "b": b}, "outputs": {"y": a - 2 * b}}).encode()


def order(kind: str, form: str = "svg", points: int = 5, **fields: Any) -> dict[str, Any]:
    axes = {"x": "a", "y": "y", "objectives": [{"name": "y", "goal": "maximise"}]}
    return {"plot": kind, "form": form, "points": points, "columns": COLUMNS, "types": TYPES, **axes, **fields}


SERIES = {"series": [{"level": 4.0, "value": 1.0}, {"level": 2.0, "value": 1.5}], "extrapolated": 2.0}
PLOTS: dict[str, dict[str, Any]] = {
    "scatter": order("scatter"),
    "histogram": order("histogram"),
    "pareto": order("pareto"),
    "tornado": order("tornado", design=ONE_AT_A_TIME),
    "regression": order("tornado"),
    "convergence": order("convergence", result=SERIES),
    "history": order("convergence", result={"history": [None, 3.0, 2.0, 2.0]}),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_a_whole_picture_and_the_same_each_time(name: str) -> None:
    svg = plot(PLOTS[name], rows(5))
    assert svg == plot(PLOTS[name], rows(5))
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10
    png = plot({**PLOTS[name], "form": "png"}, rows(5))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (1050, 675)
    assert len(set(zlib.decompress(b"".join(chunks_of(png))))) > 10


def chunks_of(png: bytes) -> Iterator[bytes]:
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            yield png[place + 8 : place + 8 + length]
        place += 12 + length


def test_many_points_are_thinned_out_and_said() -> None:
    svg = plot(order("scatter", points=4 * MOST_DOTS), rows(4 * MOST_DOTS))
    assert MOST_DOTS * 0.9 < svg.count(b"<use") < MOST_DOTS * 1.1
    assert len(svg) < 2 << 20


def test_labels_are_shown_as_they_are_and_never_as_markup() -> None:
    labels = {"a": "<script>alert(1)</script> $\\frac{", "y": "\x00\x07" + "long " * 100}
    svg = plot(order("scatter", labels=labels, title="]]></svg>"), rows(5))
    root = ET.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "script" not in tags
    assert "text" not in tags


@pytest.mark.parametrize(
    "wrong",
    [
        order("pie"),
        order("scatter", form="pdf"),
        order("scatter", x="nothing"),
        order("convergence"),
        order("pareto", objectives=None),
        order("histogram", bins=10**9),
        order("scatter", confidence="much"),
        order("tornado", columns=COLUMNS[2:]),
    ],
)
def test_a_plot_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        plot(wrong, rows(5))
    assert caught.value.code in {"plot_invalid", "statistics_invalid"}


def test_an_incomplete_sample_is_not_plotted_unless_told_to() -> None:
    with pytest.raises(InvalidInputError) as caught:
        plot(order("histogram"), rows(4))
    assert caught.value.code == "sample_incomplete"
    assert plot(order("histogram", incomplete="leave_out"), rows(4))


def read_back(data: bytes) -> dict[str, Any]:
    table = read_parquet(io.BytesIO(data)).read_all()
    return {name: table[name].to_pylist() for name in table.column_names}


def test_parquet_keeps_types_names_and_what_is_missing() -> None:
    lines = [
        {
            "index": 0,
            "state": "completed",
            "inputs": {"a": 1, "steel": "S235"},
            "outputs": {"y": 1.5, "a": 2, "ok": True},
        },
        {"index": 1, "state": "failed", "inputs": {"a": 2, "steel": "=1+1"}, "outputs": None},
        {
            "index": 2,
            "state": "completed",
            "inputs": {"a": 3, "state": 4},
            "outputs": {"y": 2, "list": [1, {"b": "ü"}]},
        },
    ]
    assert read_back(parquet(json.dumps(line).encode() for line in lines)) == {
        "index": [0, 1, 2],
        "state": ["completed", "failed", "completed"],
        "a": [1, 2, 3],
        "steel": ["S235", "=1+1", None],
        "y": [1.5, None, 2.0],
        "outputs.a": [2, None, None],
        "ok": [True, None, None],
        "inputs.state": [None, None, 4],
        "list": [None, None, '[1, {"b": "ü"}]'],
    }


def test_parquet_has_what_is_computed_of_a_point() -> None:
    lines = [{"index": 0, "inputs": {"a": "2 mm"}, "outputs": {"y": 3.0}}, {"index": 1, "inputs": {"a": "1 mm"}}]
    columns = [{"name": "y", "of": "outputs"}, {"name": "ratio", "expression": "1 / (y - 3)"}]
    columns += [{"name": "square", "expression": "a**2"}, {"name": "ok", "expression": "y > 2"}]
    order = {"columns": columns, "types": {"a": "Length", "y": "Float"}}
    found = read_back(parquet([json.dumps(line).encode() for line in lines], order))
    assert found["square"] == [pytest.approx(4e-6), None]
    assert found["ok"] == [True, None]
    assert found["ratio"] == [None, None]


def test_a_driven_study_has_statistics_and_plots_too() -> None:
    driven = {"kind": "root_finding", "factors": {"a": "0 .. 1"}, "expression": "y", "seed": 1}
    assert plot(order("scatter", design=driven), rows(5))


def test_parquet_of_nothing_and_of_numbers_beyond_its_own() -> None:
    assert read_back(parquet([])) == {"index": [], "state": []}
    found = read_back(parquet([json.dumps({"index": 0, "outputs": {"big": 2**70}}).encode()]))
    assert found["big"] == [2.0**70]
    assert read_back(parquet([b'{"index": 0, "outputs": {"huge": 1' + b"0" * 400 + b"}}"]))["huge"] == ["1" + "0" * 400]


def test_a_table_of_too_many_columns_is_refused() -> None:
    line = json.dumps({"index": 0, "outputs": {f"o{n}": n for n in range(1_001)}}).encode()
    with pytest.raises(InvalidInputError) as caught:
        parquet([line])
    assert caught.value.code == "columns_invalid"
