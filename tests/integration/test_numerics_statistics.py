"""Statistics against known answers, and refused where the sample does not carry them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import sobol_indices

from mecapy_platform.core.errors import ConflictError, InvalidInputError
from mecapy_platform.core.expressions import ExpressionError
from mecapy_platform.core.sampling.design import parse_design
from mecapy_platform.core.sampling.records import Design
from mecapy_platform.core.sampling.systematic import rows_of
from mecapy_platform.numerics.designs import draw
from mecapy_platform.numerics.sample import judge_complete, read_columns, read_sample
from mecapy_platform.numerics.statistics import dependence, moments, sensitivity

NAN = float("nan")


def read(kind: str, factors: Mapping[str, Any], **fields: Any) -> Design:
    return parse_design({"kind": kind, "factors": factors, **fields}, new_seed=7)


def lines(rows: list[dict[str, Any]]) -> Iterator[bytes]:
    return (json.dumps(row).encode() for row in rows)


def test_moments_of_few_numbers_are_those_of_the_textbook() -> None:
    found = moments.moments(np.array([2.0, 4, 4, 4, 5, 5, 7, 9]), 0.95)
    assert found["mean"] == 5
    assert found["std"] == pytest.approx(2.138089935)
    assert found["mean_interval"] == pytest.approx([3.2125, 6.7875], abs=1e-4)  # 5 ± 2.3646 · 2.1381/√8
    assert found["std_interval"] == pytest.approx([1.41364, 4.35158], abs=1e-4)  # √(7 s²/16.0128), √(7 s²/1.68987)
    assert found["skewness"] == pytest.approx(0.8184876)
    assert moments.moments(np.array([3.0]), 0.95)["mean_interval"] is None
    assert moments.moments(np.array([3.0, 3.0, 3.0, 3.0, 3.0]), 0.95)["skewness"] is None


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = {"mean": 0, "quantile": 0}
    for _ in range(400):
        values = rng.exponential(size=200)
        low, high = moments.moments(values, 0.9)["mean_interval"]
        held["mean"] += low <= 1 <= high
        low, high = moments.quantiles(values, [0.5], 0.9)[0]["interval"]
        held["quantile"] += low <= np.log(2) <= high
    assert 335 <= held["mean"] <= 385
    assert 340 <= held["quantile"] <= 390


def test_a_quantile_that_the_sample_cannot_bound_has_no_interval() -> None:
    found = moments.quantiles(np.arange(100.0), [0.5, 0.999], 0.95)
    assert found[0]["interval"] == [39, 60]
    assert found[1]["interval"] is None


def test_a_histogram_counts_all() -> None:
    for values in (np.arange(1000.0), np.ones(5), np.array([1.0] * 99 + [1e9]), np.array([2.0])):
        found = moments.histogram(values, None)
        assert sum(found["counts"]) == len(values)
        assert len(found["edges"]) == len(found["counts"]) + 1 <= 201
    assert len(moments.histogram(np.arange(10.0), 7)["counts"]) == 7


def test_a_share_has_the_exact_interval() -> None:
    found = moments.proportion(np.array([1.0] * 8 + [0.0] * 2), 0.95)
    assert found["share"] == 0.8
    assert found["interval"] == pytest.approx([0.4439045, 0.9747893], abs=1e-6)  # Clopper and Pearson (1934)


def test_correlation_of_known_columns() -> None:
    x = np.arange(20.0)
    found = dependence.correlation({"x": x, "cube": x**3, "down": -x, "still": np.ones(20)}, 0.95)
    assert found["spearman"][0][1] == pytest.approx(1)
    assert found["pearson"][0][2] == pytest.approx(-1)
    assert np.isnan(found["pearson"][0][3])
    pair = next(said for said in found["pairs"] if said["pair"] == ["x", "cube"])
    assert pair["interval"] == pytest.approx(stats.pearsonr(x, x**3).confidence_interval(0.95), abs=1e-9)


def test_regression_finds_a_plane_and_a_surface() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 10, 200), rng.uniform(-1, 1, 200)
    found = dependence.regression({"x": x, "y": y}, 3 + 2 * x - 5 * y, 0.95, quadratic=False)
    assert [term["coefficient"] for term in found["terms"][1:]] == pytest.approx([2, -5])
    assert found["r_squared"] == pytest.approx(1)
    surface = dependence.regression({"x": x, "y": y}, x**2 - 3 * x * y, 0.95, quadratic=True)
    by_name = {term["term"]: term["coefficient"] for term in surface["terms"]}
    assert by_name["x*x"] == pytest.approx(1)
    assert by_name["x*y"] == pytest.approx(-3)
    assert by_name["y*y"] == pytest.approx(0, abs=1e-9)


def test_intervals_of_regression_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 10, 50)
    y = 1 + 2 * x + rng.normal(size=50)
    term = dependence.regression({"x": x}, y, 0.95, quadratic=False)["terms"][1]
    known = stats.linregress(x, y)
    reach = stats.t.isf(0.025, 48) * known.stderr
    assert term["coefficient"] == pytest.approx(known.slope)
    assert term["interval"] == pytest.approx([known.slope - reach, known.slope + reach])
    assert term["standardised"] == pytest.approx(known.rvalue)


@pytest.mark.parametrize(
    "inputs", [{"x": np.arange(2.0)}, {"x": np.arange(9.0), "y": 2 * np.arange(9.0)}, {"x": np.ones(9)}]
)
def test_regression_that_cannot_be_is_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        dependence.regression(inputs, np.arange(float(len(inputs["x"]))), 0.95, quadratic=False)
    assert caught.value.code == "regression_impossible"


def test_the_pareto_set_is_what_nothing_beats() -> None:
    costs = np.array([[1.0, 5], [2, 3], [3, 4], [4, 1], [2, 3], [0, 9], [NAN, 0], [0.5, 0.5]])
    feasible = np.array([True] * 7 + [False])
    assert dependence.pareto(costs, [False, False], feasible) == [5, 0, 1, 4, 3]
    assert set(dependence.pareto(costs, [True, True], feasible)) == {5, 0, 2, 3}


def test_the_pareto_set_of_many_points_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(4)
    costs = rng.random((300, 3))
    beaten = [(np.all(costs <= row, axis=1) & np.any(costs < row, axis=1)).any() for row in costs]
    assert set(dependence.pareto(costs, [False] * 3, np.ones(300, bool))) == set(np.flatnonzero(~np.array(beaten)))


def ishigami(x: Any) -> Any:
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


ANGLES = {name: {"low": -np.pi, "high": np.pi} for name in ("x1", "x2", "x3")}
FIRST, TOTAL = [0.3139, 0.4424, 0.0], [0.5576, 0.4424, 0.2437]  # analytic: Saltelli et al. (2008), section 4.6


def test_sobol_indices_of_ishigami() -> None:
    design = read("sobol_indices", ANGLES, base_points=4096)
    found = sensitivity.sobol(design, ishigami(draw(design)), 0.99)
    assert [said["first_order"] for said in found] == pytest.approx(FIRST, abs=0.02)
    assert [said["total"] for said in found] == pytest.approx(TOTAL, abs=0.02)
    for said, first, total in zip(found, FIRST, TOTAL, strict=True):
        assert said["first_order_interval"][0] - 0.01 <= first <= said["first_order_interval"][1] + 0.01
        assert said["total_interval"][0] - 0.01 <= total <= said["total_interval"][1] + 0.01


def test_sobol_indices_agree_with_scipy() -> None:
    design = read("sobol_indices", ANGLES, base_points=256)
    values = ishigami(draw(design))
    blocks = values.reshape(5, 1, 256)
    known = sobol_indices(func={"f_A": blocks[0], "f_B": blocks[1], "f_AB": blocks[2:]}, n=256)
    found = sensitivity.sobol(design, values, 0.95)
    assert [said["first_order"] for said in found] == pytest.approx(known.first_order.ravel())
    assert [said["total"] for said in found] == pytest.approx(known.total_order.ravel())


def test_sobol_indices_leave_out_base_points_that_lack_a_value() -> None:
    design = read("sobol_indices", ANGLES, base_points=256)
    values = ishigami(draw(design))
    values[[3, 300, 3 + 256]] = NAN
    assert {said["base_points"] for said in sensitivity.sobol(design, values, 0.95)} == {254}
    values[:250] = NAN
    with pytest.raises(InvalidInputError) as caught:
        sensitivity.sobol(design, values, 0.95)
    assert caught.value.code == "sample_too_small"


def test_morris_on_a_linear_function_gives_its_slopes() -> None:
    factors = {"a": {"low": 0, "high": 2}, "b": {"low": 1, "high": 11}, "c": {"low": 0, "high": 1}}
    design = read("morris", factors, trajectories=12)
    values = draw(design) @ np.array([3.0, -0.5, 0.0]) + 100
    found = sensitivity.morris(design, values, 0.95)
    assert [said["mu"] for said in found] == pytest.approx([6, -5, 0], abs=1e-9)
    assert [said["mu_star"] for said in found] == pytest.approx([6, 5, 0], abs=1e-9)
    assert [said["sigma"] for said in found] == pytest.approx([0, 0, 0], abs=1e-9)
    recorded = {"b": draw(design)[:, 1] / 1000}
    assert sensitivity.morris(design, values, 0.95, recorded) == found
    with pytest.raises(ConflictError) as caught:
        sensitivity.morris(design, values, 0.95, {"b": recorded["b"][::-1].copy()})
    assert caught.value.code == "study_not_repeatable"
    values[0] = NAN
    assert sorted(said["effects"] for said in sensitivity.morris(design, values, 0.95)) == [11, 12, 12]


def test_effects_of_a_screening_design() -> None:
    design = read("plackett_burman", {f"f{n}": {"low": -1, "high": 1} for n in range(7)})
    points = np.array(list(rows_of(design)))
    found = sensitivity.main_effects(design, points, 5 * points[:, 3] - 2 * points[:, 0] + 1)
    assert [said["factor"] for said in found[:2]] == ["f3", "f0"]
    assert [said["effect"] for said in found] == pytest.approx([10, -4, 0, 0, 0, 0, 0])


def test_a_tornado_is_ordered_by_swing() -> None:
    design = read("one_at_a_time", {"a": "0 .. 1", "b": "0 .. 10"})
    points = np.array(list(rows_of(design)))
    found = sensitivity.tornado(design, points[:, 0] + points[:, 1])
    assert found["nominal"] == 5.5
    assert found["bars"][0] == {"factor": "b", "low": 0.5, "high": 10.5, "swing": 10}
    assert found["bars"][1]["swing"] == 1


def test_statistics_of_another_design_are_refused() -> None:
    design = read("monte_carlo", {"a": "0 .. 1"}, points=5)
    for call in (
        lambda: sensitivity.sobol(design, np.ones(5), 0.95),
        lambda: sensitivity.morris(design, np.ones(5), 0.95),
        lambda: sensitivity.tornado(design, np.ones(5)),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.code == "design_not_fitting"


TYPES = {"load": "Force", "stress": "Stress", "ok": "Boolean"}
COLUMNS = [
    {"name": "load", "of": "inputs"},
    {"name": "stress", "of": "outputs"},
    {"name": "margin", "expression": "200[MPa] / stress - 1"},
    {"name": "safe", "expression": "stress <= 200[MPa]"},
]


def test_rows_become_columns_with_expressions_and_units() -> None:
    columns = read_columns(COLUMNS, TYPES, "SI")
    rows = [
        {"index": 1, "state": "completed", "inputs": {"load": "2 kN"}, "outputs": {"stress": 250e6}},
        {"index": 0, "inputs": {"load": 1000.0}, "outputs": {"stress": 100e6, "unused": [1]}},
    ]
    sample = read_sample(lines(rows), columns, 2)
    assert {name: values.tolist() for name, values in sample.values.items()} == {
        "load": [1000, 2000],
        "stress": [100e6, 250e6],
        "margin": [1.0, pytest.approx(-0.2)],
        "safe": [1, 0],
    }
    assert judge_complete(sample, leave_out=False).all()


def test_an_incomplete_sample_is_refused_with_its_reasons_unless_told_otherwise() -> None:
    columns = read_columns(COLUMNS, TYPES, "SI")
    rows = [
        {"index": 0, "inputs": {"load": 1}, "outputs": {"stress": 1e6}},
        {"index": 1, "state": "failed"},
        {"index": 2, "inputs": {"load": 1}, "outputs": {"stress": 0}},
        {"index": 3, "inputs": {"load": 1}, "outputs": {}},
        {"index": 99, "inputs": {"load": 1}, "outputs": {}},
    ]
    sample = read_sample(lines(rows), columns, 5)
    with pytest.raises(InvalidInputError) as caught:
        judge_complete(sample, leave_out=False)
    assert caught.value.code == "sample_incomplete"
    for said in ("4 of 5", "1 failed", "1 not started", "expression_division_by_zero"):
        assert said in caught.value.message
    assert judge_complete(sample, leave_out=True).tolist() == [True, False, False, False, False]


def test_a_number_that_no_float_can_hold_is_no_value() -> None:
    columns = read_columns([{"name": "y", "of": "outputs"}], {}, "SI")
    sample = read_sample([b'{"index": 0, "outputs": {"y": 1' + b"0" * 400 + b"}}"], columns, 1)
    assert sample.missing == {"y is no number": 1}


def test_a_sample_without_values_is_refused_in_any_case() -> None:
    sample = read_sample([], read_columns(COLUMNS, TYPES, "SI"), 3)
    with pytest.raises(InvalidInputError) as caught:
        judge_complete(sample, leave_out=True)
    assert caught.value.code == "sample_empty"


def test_an_expression_that_does_not_hold_is_refused_before_a_row_is_read() -> None:
    with pytest.raises(ExpressionError):
        read_columns([{"name": "x", "expression": "load + stress"}], TYPES, "SI")
    with pytest.raises(InvalidInputError) as caught:
        read_columns([], TYPES, "SI")
    assert caught.value.code == "columns_invalid"
