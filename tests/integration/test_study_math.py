"""The mathematics of studies in its own process: answers, refusals by code, limits, and nothing heavy on this side."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import ConflictError, InvalidInputError, MecapyError, UnavailableError
from mecapy_platform.numerics.calls import StudyMath

BOLT = {
    "kind": "monte_carlo",
    "factors": {
        "torque": {"distribution": "normal", "mean": "80 N*m", "std": "4 N*m"},
        "friction": {"distribution": "triangular", "low": 0.1, "mode": 0.12, "high": 0.16},
    },
    "points": 2_000,
}


@pytest.fixture(scope="module")
def math() -> Iterator[StudyMath]:
    made = StudyMath()
    yield made
    made.close()


def drawn(math: StudyMath, document: dict[str, Any]) -> list[dict[str, Any]]:
    recorded, count = math.parse(document, 5)
    return [json.loads(line) for line in math.draw(recorded, 0, count).splitlines()]


def rows_of(inputs: list[dict[str, Any]], output: str = "force") -> bytes:
    rows = []
    for index, each in enumerate(inputs):
        force = float(str(each["torque"]).partition(" ")[0]) / each["friction"]
        rows.append(json.dumps({"index": index, "state": "completed", "inputs": each, "outputs": {output: force}}))
    return "\n".join(rows).encode()


def test_a_study_is_parsed_drawn_and_told_of(math: StudyMath) -> None:
    recorded, count = math.parse(BOLT, 5)
    assert recorded["seed"] == 5
    assert count == 2_000
    inputs = drawn(math, recorded)
    assert math.draw(recorded, 1_990, 500).splitlines() == [json.dumps(each).encode() for each in inputs[1_990:]]
    order = {
        "points": count,
        "design": recorded,
        "types": {"torque": "Moment", "friction": "Float", "force": "Float"},
        "columns": [
            {"name": "torque", "of": "inputs"},
            {"name": "friction", "of": "inputs"},
            {"name": "force", "of": "outputs"},
            {"name": "enough", "expression": "force > 600", "role": "criterion"},
        ],
        "wanted": ["moments", "quantiles", "histogram", "success", "correlation", "regression", "pareto"],
        "objectives": [{"name": "force", "goal": "maximise"}],
    }
    found = math.statistics(order, rows_of(inputs))
    assert found["used"] == found["points"] == 2_000
    assert found["moments"]["force"]["mean"] == pytest.approx(80 / 0.1259, rel=0.02)
    assert 0.5 < found["success"]["enough"]["share"] < 0.9
    signs = {term["term"]: term["standardised"] for term in found["regression"]["force"]["terms"][1:]}
    assert signs["torque"] > 0 > signs["friction"]
    assert len(found["pareto"]["indices"]) == 1


def test_points_are_added_there_and_refused_there(math: StudyMath) -> None:
    recorded, _ = math.parse(BOLT, 5)
    grown, count = math.add_points(recorded, {"points": 10})
    assert count == 2_010
    assert math.draw(grown, 0, 2_000) == math.draw(recorded, 0, 2_000)
    whole, _ = math.parse({"kind": "plackett_burman", "factors": {"a": "0 .. 1"}}, 5)
    with pytest.raises(ConflictError) as caught:
        math.add_points(whole, {"points": 10})
    assert caught.value.code == "points_not_added"


@pytest.mark.parametrize(
    "document",
    [
        {**BOLT, "points": 10**9},
        {**BOLT, "correlation": [[1, 2], [2, 1]]},
        {**BOLT, "factors": {"a": {"low": float("nan"), "high": float("inf")}}},
        {"kind": "csv", "text": "a\n" + "1\n" * 4_000_000},
        {"kind": "csv", "text": "a," * 4_000_000},
        {"kind": "full_factorial", "factors": {f"f{n}": {"low": 0, "high": 1, "levels": 50_000} for n in range(100)}},
        {"kind": "fractional_factorial", "factors": {f"f{n}": "0 .. 1" for n in range(100)}, "resolution": 8},
    ],
)
def test_hostile_designs_are_refused_by_code(math: StudyMath, document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        math.parse(document, 1)
    assert caught.value.code == "design_invalid"


def test_a_calculation_beyond_its_limits_is_refused_and_the_next_goes_on(math: StudyMath) -> None:
    slow, _ = math.parse({**BOLT, "kind": "latin_hypercube", "points": 2_000, "optimised": True}, 5)
    large, _ = math.parse(
        {**BOLT, "points": 50_000, "factors": {f"f{n}": {"low": 0, "high": 1} for n in range(100)}}, 5
    )
    for document, bounds in ((slow, Bounds(1.0, 1 << 30)), (large, Bounds(60.0, 64 << 20))):
        bound = StudyMath(bounds)
        try:
            with pytest.raises(MecapyError) as caught:
                bound.draw(document, 0, 50_000)
            assert caught.value.code == "study_too_complex"
            if document is large:
                assert len(bound.draw({**large, "points": 10}, 0, 10).splitlines()) == 10
        finally:
            bound.close()


def test_no_more_is_calculated_at_once_than_may_be() -> None:
    """Calculations of one organization take neither all memory nor the threads that serve others."""
    math = StudyMath(at_once=1, patience_seconds=0.0)
    try:
        slow, _ = math.parse({**BOLT, "kind": "latin_hypercube", "points": 300, "optimised": True}, 5)
        began = threading.Event()

        def calculate() -> bytes:
            began.set()
            return math.draw(slow, 0, 1)

        with ThreadPoolExecutor() as pool:
            first = pool.submit(calculate)
            began.wait()
            refused: set[str] = set()
            while not first.done():
                try:
                    math.parse(BOLT, 5)
                except UnavailableError as error:
                    refused.add(error.code)
            assert first.result()
        assert refused == {"study_math_busy"}
        assert math.parse(BOLT, 5)
    finally:
        math.close()


def test_who_calls_loads_none_of_the_libraries() -> None:
    heavy = {"numpy", "scipy", "pymoo", "matplotlib", "arro3"}
    code = f"import sys, mecapy_platform.numerics.calls\nprint({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_driven_study_is_asked_and_told_to_its_end(math: StudyMath) -> None:
    """The width at which a square bar of 10 kN has 100 MPa."""
    design = {"kind": "root_finding", "factors": {"w": "5 mm .. 50 mm"}, "expression": "stress", "target": "100 MPa"}
    order = {"design": {**design, "seed": 1}, "types": {"stress": "Stress"}}
    rows: list[bytes] = []
    while (answer := math.ask(order, b"\n".join(rows)))["state"] == "ask":
        assert answer["first"] == len(rows)
        for inputs in answer["points"]:
            width = float(inputs["w"].partition(" ")[0]) / 1000
            row = {"index": len(rows), "state": "completed", "inputs": inputs, "outputs": {"stress": 1e4 / width**2}}
            rows.append(json.dumps(row).encode())
    assert answer["state"] == "done"
    assert float(answer["result"]["inputs"]["w"].partition(" ")[0]) == pytest.approx(10, abs=1e-3)


@pytest.mark.parametrize("objectives", [1, 2])
def test_an_optimiser_of_another_process_goes_on_where_the_last_ended(math: StudyMath, objectives: int) -> None:
    """Every look is a new process: what is asked for follows from the recorded points alone."""
    design = {
        "kind": "optimisation",
        "factors": {"x": {"low": -1, "high": 1}, "n": {"low": 1, "high": 5, "whole": True}},
        "objectives": [{"expression": "x**2 + n"}, {"expression": "(x - 1)**2 - n"}][:objectives],
        "points": 100,
        "population": 20,
        "seed": 11,
    }
    order = {"design": design, "types": {"x": "Float", "n": "Integer"}}
    rows: list[bytes] = []
    looks = 0
    while (answer := math.ask(order, b"\n".join(rows)))["state"] == "ask":
        looks += 1
        for inputs in answer["points"]:
            rows.append(json.dumps({"index": len(rows), "inputs": inputs, "outputs": {}}).encode())
    assert answer["state"] == "done"
    assert looks >= 4
    assert len(rows) <= 100


def test_plots_and_tables_come_from_there_too(math: StudyMath) -> None:
    rows = rows_of(drawn(math, {**BOLT, "points": 50}))
    columns = [{"name": "friction", "of": "inputs"}, {"name": "force", "of": "outputs"}]
    order = {"plot": "scatter", "x": "friction", "y": "force", "form": "svg", "points": 50, "columns": columns}
    assert math.plot(order, rows).startswith(b"<?xml")
    assert math.plot({**order, "form": "png"}, rows).startswith(b"\x89PNG")
    assert math.parquet({}, rows)[:4] == math.parquet({}, rows)[-4:] == b"PAR1"
    with pytest.raises(InvalidInputError) as caught:
        math.plot({**order, "plot": "pie"}, rows)
    assert caught.value.code == "plot_invalid"
