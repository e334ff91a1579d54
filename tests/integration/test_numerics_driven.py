"""Driven studies against known answers; each look is rebuilt from the recorded points alone."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mecapy_platform.core.errors import ConflictError
from mecapy_platform.numerics.driven.drive import ask
from mecapy_platform.numerics.sample import in_si
from mecapy_platform.numerics.statistics.convergence import extrapolate

Function = Callable[[Mapping[str, Any]], Mapping[str, float] | None]


class Told:
    """A study whose points are computed here, each look from rows of JSON as the database would give them."""

    def __init__(self, design: dict[str, Any], function: Function, outputs: Mapping[str, str]) -> None:
        self.order = {"design": {"seed": 3, **design}, "types": outputs}
        self.function = function
        self.rows: list[dict[str, Any]] = []
        self.looks = 0

    def look(self) -> dict[str, Any]:
        self.looks += 1
        return ask(self.order, (json.dumps(row).encode() for row in reversed(self.rows)))

    def tell(self, answer: dict[str, Any]) -> None:
        assert answer["first"] == len(self.rows)
        for index, inputs in enumerate(answer["points"], len(self.rows)):
            outputs = self.function({name: in_si(value) for name, value in inputs.items()})
            state = "failed" if outputs is None else "completed"
            self.rows.append({"index": index, "state": state, "inputs": inputs, "outputs": outputs})

    def end(self) -> dict[str, Any]:
        while (answer := self.look())["state"] == "ask":
            self.tell(answer)
        return answer

    def result(self) -> Any:
        answer = self.end()
        assert answer["state"] == "done", answer
        return answer["result"]


def rosenbrock(inputs: Mapping[str, Any]) -> dict[str, float]:
    return {"y": (1 - inputs["a"]) ** 2 + 100 * (inputs["b"] - inputs["a"] ** 2) ** 2}


VALLEY = {"kind": "optimisation", "factors": {"a": {"low": -2, "high": 2}, "b": {"low": -1, "high": 3}}}


@pytest.mark.parametrize(("method", "points"), [("differential_evolution", 1_200), ("cobyqa", 400)])
def test_the_valley_of_rosenbrock_is_walked_to_its_end(method: str, points: int) -> None:
    design = {**VALLEY, "objectives": [{"expression": "y"}], "method": method, "points": points, "population": 40}
    best = Told(design, rosenbrock, {"y": "Float"}).result()["best"]
    assert best["inputs"] == {"a": pytest.approx(1, abs=0.05), "b": pytest.approx(1, abs=0.1)}
    assert best["feasible"]


@pytest.mark.parametrize("method", ["differential_evolution", "cobyqa"])
def test_a_constrained_optimum_lies_on_its_limit(method: str) -> None:
    """Lightest square bar under tension: width = sqrt(F / stress) = sqrt(10 kN / 100 MPa) = 10 mm."""
    design = {
        "kind": "optimisation",
        "factors": {"width": "5 mm .. 50 mm"},
        "objectives": [{"expression": "area"}],
        "constraints": [{"expression": "10[kN] / area", "at_most": "100 MPa"}],
        "method": method,
        "points": 600,
        "tolerance": 1e-6,
    }
    told = Told(design, lambda inputs: {"area": inputs["width"] ** 2}, {"area": "Area"})
    best = told.result()["best"]
    assert best["feasible"]
    assert in_si(best["inputs"]["width"]) == pytest.approx(0.010, rel=2e-3)
    assert best["inputs"]["width"].endswith(" mm")


def test_an_optimum_of_whole_numbers_is_whole_and_maximised() -> None:
    design = {
        "kind": "optimisation",
        "factors": {"n": {"low": 1, "high": 40, "whole": True}, "x": {"low": 0, "high": 1}},
        "objectives": [{"expression": "y", "goal": "maximise"}],
    }
    told = Told(design, lambda p: {"y": -((p["n"] - 17.3) ** 2) - p["x"]}, {"y": "Float"})
    result = told.result()
    assert result["best"]["inputs"]["n"] == 17
    assert result["history"] == sorted(result["history"])


def test_failed_points_are_walked_around() -> None:
    def fails_left(inputs: Mapping[str, Any]) -> dict[str, float] | None:
        return None if inputs["x"] < 0.3 else {"y": inputs["x"]}

    for method in ("differential_evolution", "cobyqa"):
        design = {
            "kind": "optimisation",
            "factors": {"x": {"low": 0, "high": 1}},
            "objectives": [{"expression": "y"}],
            "method": method,
            "points": 300,
        }
        result = Told(design, fails_left, {"y": "Float"}).result()
        assert result["best"]["inputs"]["x"] == pytest.approx(0.3, abs=0.05)
        assert result["failed"] > 0


def test_an_optimisation_whose_points_all_fail_says_so() -> None:
    design = {**VALLEY, "objectives": [{"expression": "y"}], "points": 60}
    answer = Told(design, lambda _: None, {"y": "Float"}).end()
    assert (answer["state"], answer["code"]) == ("failed", "no_point_completed")


def test_two_objectives_give_their_set_of_compromises() -> None:
    """Between (0, 0) and (1, 0) lie all compromises of the distances to both; x >= 0.2 cuts a part off."""
    design = {
        "kind": "optimisation",
        "factors": {"x": {"low": -2, "high": 2}, "y": {"low": -2, "high": 2}},
        "objectives": [{"expression": "near"}, {"expression": "far", "goal": "maximise"}],
        "constraints": [{"expression": "x", "at_least": 0.2}],
        "population": 24,
        "points": 480,
    }
    types = {"near": "Float", "far": "Float", "x": "Float"}
    told = Told(design, lambda p: {"near": p["x"] ** 2 + p["y"] ** 2, "far": -((p["x"] - 1) ** 2) - p["y"] ** 2}, types)
    result = told.result()
    places = [(point["inputs"]["x"], point["inputs"]["y"]) for point in result["front"]]
    assert len(places) > 20
    assert min(x for x, _ in places) == pytest.approx(0.2, abs=0.05)
    assert max(x for x, _ in places) == pytest.approx(1.0, abs=0.05)
    assert max(abs(y) for _, y in places) < 0.2


def test_a_study_is_asked_for_the_same_points_until_they_have_ended() -> None:
    design = {**VALLEY, "objectives": [{"expression": "y"}], "population": 10}
    told = Told(design, rosenbrock, {"y": "Float"})
    first = told.look()
    assert (first["state"], first["first"], len(first["points"])) == ("ask", 0, 10)
    told.tell(first)
    for row in told.rows[4:]:
        row["state"] = "running"
    assert told.look() == first
    for row in told.rows:
        row["state"] = "completed"
    assert told.look()["first"] == 10


def test_recorded_points_that_are_not_those_asked_for_are_refused() -> None:
    told = Told({**VALLEY, "objectives": [{"expression": "y"}]}, rosenbrock, {"y": "Float"})
    told.tell(told.look())
    told.rows[3]["inputs"]["a"] += 0.5
    with pytest.raises(ConflictError) as caught:
        told.look()
    assert caught.value.code == "study_not_repeatable"


def test_a_root_is_found_between_its_ends() -> None:
    """The diameter at which a bar of 10 kN has 100 MPa: sqrt(4 F / (pi s)) = 11.2838 mm."""
    design = {
        "kind": "root_finding",
        "factors": {"d": "5 mm .. 50 mm"},
        "expression": "stress",
        "target": "100 MPa",
        "tolerance": 1e-9,
    }
    told = Told(design, lambda p: {"stress": 4e4 / (np.pi * p["d"] ** 2)}, {"stress": "Stress"})
    result = told.result()
    assert in_si(result["inputs"]["d"]) == pytest.approx(0.0112837917, rel=1e-7)
    assert result["points"] == len(told.rows) < 30
    assert result["ended"] == "converged"
    spent = Told({**design, "points": 5}, told.function, {"stress": "Stress"}).result()
    assert spent["ended"] == "budget"


@pytest.mark.parametrize(("low", "code"), [("20 mm", "root_not_bracketed"), ("1 mm", "point_failed")])
def test_a_root_that_cannot_be_found_says_why(low: str, code: str) -> None:
    design = {"kind": "root_finding", "factors": {"d": f"{low} .. 50 mm"}, "expression": "y", "target": 1}
    answer = Told(design, lambda p: {"y": 2 - p["d"]} if p["d"] > 0.002 else None, {"y": "Float"}).end()
    assert (answer["state"], answer["code"]) == ("failed", code)


@pytest.mark.parametrize("steps", [(4.0, 2.0, 1.0), (3.0, 2.0, 1.0), (1.0, 0.7, 0.3)])
@pytest.mark.parametrize("order", [1.0, 2.0, 2.5])
def test_richardson_is_exact_where_the_error_is_a_power_of_the_step(
    steps: tuple[float, float, float], order: float
) -> None:
    coarse, middle, fine = (10 + 0.3 * step**order for step in steps)
    found = extrapolate(steps, (coarse, middle, fine))
    assert found.order == pytest.approx(order)
    assert found.value == pytest.approx(10)
    assert found.index == pytest.approx(1.25 * abs(fine - 10) / 10)


def test_values_that_do_not_converge_are_not_extrapolated() -> None:
    assert not extrapolate((4, 2, 1), (1.0, 2.0, 1.5)).monotone
    assert extrapolate((4, 2, 1), (1.0, 2.0, 4.0)).order is None
    assert extrapolate((4, 2, 1), (1.0, 1.0, 1.0)).error == 0
    assert extrapolate((4, 2, 1), (0.5, 1.0, 1.0)).monotone is False


@pytest.mark.parametrize("grows", [False, True])
def test_a_mesh_is_refined_until_it_is_fine_enough(grows: bool) -> None:
    factor = {"low": 2, "high": 4096, "whole": True} if grows else "0.25 mm .. 16 mm"
    design = {
        "kind": "convergence",
        "factors": {"h": factor},
        "expression": "y",
        "tolerance": 0.001,
        "grows": grows,
        "points": 12,
    }

    def beam(inputs: Mapping[str, Any]) -> dict[str, float]:
        size = 1 / inputs["h"] if grows else inputs["h"] / 0.016
        return {"y": 5 * (1 - 0.4 * size**2)}

    told = Told(design, beam, {"y": "Float"})
    result = told.result()
    assert result["ended"] == "converged"
    assert result["order"] == pytest.approx(2, abs=1e-6)
    assert result["extrapolated"] == pytest.approx(5, rel=1e-9)
    assert 3 < len(result["series"]) < 9
    assert result["index"] <= 0.001 < result["series"][-2]["index"]


def test_convergence_stops_at_its_range_and_needs_three_levels() -> None:
    design = {"kind": "convergence", "factors": {"h": "1 mm .. 4 mm"}, "expression": "y", "tolerance": 1e-9}
    result = Told(design, lambda p: {"y": 1 + p["h"]}, {"y": "Float"}).result()
    assert result["ended"] == "range"
    assert result["order"] == pytest.approx(1)
    short = {**design, "factors": {"h": "2 mm .. 4 mm"}}
    assert Told(short, lambda p: {"y": 1 + p["h"]}, {"y": "Float"}).end()["code"] == "convergence_too_short"


NORMALS = {
    "r": {"distribution": "normal", "mean": 100, "std": 10},
    "s": {"distribution": "normal", "mean": 60, "std": 5},
}


def strength(expression: str, **fields: Any) -> Told:
    design = {"kind": "reliability", "factors": NORMALS, "expression": expression, **fields}
    return Told(design, lambda p: {"out": p["r"] - p["s"]}, {"r": "Float", "s": "Float", "out": "Float"})


def test_form_on_a_linear_limit_state_is_exact() -> None:
    result = strength("out").result()
    beta = 40 / (100 + 25) ** 0.5
    assert result["beta"] == pytest.approx(beta, rel=1e-9)
    assert result["probability"] == pytest.approx(stats.norm.sf(beta), rel=1e-8)
    assert result["importance"] == {"r": pytest.approx(0.8), "s": pytest.approx(0.2)}
    assert result["design_point"] == {"r": pytest.approx(68), "s": pytest.approx(68)}
    assert result["ended"] == "converged"


def test_form_knows_correlation() -> None:
    result = strength("out", correlation={"r*s": 0.5}).result()
    assert result["beta"] == pytest.approx(40 / (100 + 25 - 2 * 0.5 * 50) ** 0.5, rel=1e-9)


def test_form_of_log_normal_factors_is_exact_for_their_ratio() -> None:
    factors = {
        "r": {"distribution": "log_normal", "mean": 100, "std": 20},
        "s": {"distribution": "log_normal", "mean": 50, "std": 10},
    }
    design = {"kind": "reliability", "factors": factors, "expression": "r - s", "tolerance": 1e-6}
    result = Told(design, lambda _: {}, {"r": "Float", "s": "Float"}).result()
    sigma = np.sqrt(np.log1p(0.2**2))
    assert result["beta"] == pytest.approx(np.log(2) / (sigma * 2**0.5), rel=1e-6)


def test_a_design_that_fails_on_average_has_a_negative_index() -> None:
    assert strength("out - 60").result()["beta"] == pytest.approx(-20 / 125**0.5, rel=1e-9)


def test_importance_sampling_meets_the_exact_probability() -> None:
    result = strength("out", sampling_points=4_000).result()
    exact = stats.norm.sf(40 / 125**0.5)
    low, high = result["sampled"]["interval"]
    assert low <= exact <= high
    assert result["sampled"]["variation"] < 0.05
    assert result["points"] < 4_100


def test_importance_sampling_sees_the_curvature_that_form_does_not() -> None:
    factors = {name: {"distribution": "normal", "mean": 0, "std": 1} for name in ("x", "y")}
    design = {"kind": "reliability", "factors": factors, "expression": "1 - (x - 0.1)**2 / 16 - y / 2"}
    told = Told({**design, "sampling_points": 20_000}, lambda _: {}, {"x": "Float", "y": "Float"})
    result = told.result()
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 4_000_000))
    share = float(np.mean(1 - (x - 0.1) ** 2 / 16 - y / 2 <= 0))
    assert result["sampled"]["probability"] == pytest.approx(share, rel=0.05)
    assert result["probability"] < 0.97 * share


@pytest.mark.parametrize(
    ("expression", "points", "code"), [("0 * out + 1", 5_000, "limit_state_flat"), ("out", 6, "points_spent")]
)
def test_reliability_that_finds_no_design_point_says_why(expression: str, points: int, code: str) -> None:
    answer = strength(expression, points=points).end()
    assert (answer["state"], answer["code"]) == ("failed", code)
