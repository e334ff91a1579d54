"""Random designs: reproducible from their seed, evenly spread, with the distributions and correlations asked for."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.sampling.counts import count_of
from mecapy_platform.core.sampling.design import add_points, document_of, parse_design
from mecapy_platform.core.sampling.kinds import GROWING, LISTED, RANDOM
from mecapy_platform.core.sampling.records import Design
from mecapy_platform.numerics.designs import draw, inputs_of, lines_of, unit_sample
from mecapy_platform.numerics.distributions import from_scores

COUNTS = {"morris": {"trajectories": 20}, "sobol_indices": {"base_points": 64}}
SCATTERS: dict[str, dict[str, Any]] = {
    "normal": {"distribution": "normal", "mean": 10, "std": 2},
    "log_normal": {"distribution": "log_normal", "mean": 10, "std": 3, "location": 1},
    "uniform": {"distribution": "uniform", "low": 2, "high": 8},
    "triangular": {"distribution": "triangular", "low": 0, "mode": 1, "high": 4},
    "weibull": {"distribution": "weibull", "shape": 1.7, "scale": 5, "location": 2},
    "table": {"distribution": "table", "values": [1, 2, 5], "weights": [0.2, 0.5, 0.3]},
    "curve": {"distribution": "table", "values": [0, 1, 3], "cumulative": [0, 0.5, 1]},
    "truncated": {"distribution": "normal", "mean": 0, "std": 1, "lower": -1, "upper": 0.5},
    "far_tail": {"distribution": "normal", "mean": 0, "std": 1, "lower": 8},
}
# mean and standard deviation from the textbook's formula
LOG_MEAN, LOG_STD = 10.0, 3.0
GAMMA_1, GAMMA_2 = 0.8922440, 1.0598  # gamma(1 + 1/1.7), gamma(1 + 2/1.7)
MOMENTS = {
    "normal": (10, 2),
    "log_normal": (LOG_MEAN, LOG_STD),
    "uniform": (5, 6 / 12**0.5),
    "triangular": (5 / 3, (13 / 18) ** 0.5),
    "table": (2.7, 1.552417469626),
    "curve": (1.25, 0.8779711460710615),
}


def read(kind: str, factors: dict[str, Any], **fields: Any) -> Design:
    return parse_design(
        {"kind": kind, "factors": factors, **(COUNTS.get(kind) or {"points": 64}), **fields}, new_seed=7
    )


def ranges(factors: int) -> dict[str, Any]:
    return {f"f{number}": {"low": 0, "high": 1} for number in range(factors)}


@pytest.mark.parametrize("kind", sorted(RANDOM))
def test_a_recorded_design_gives_the_same_points_again_and_another_seed_others(kind: str) -> None:
    design = read(kind, ranges(3))
    again = parse_design(json.loads(json.dumps(document_of(design))), new_seed=99)
    assert draw(design).shape == (count_of(design), 3)
    assert np.array_equal(draw(design), draw(again))
    assert not np.array_equal(draw(design), draw(read(kind, ranges(3), seed=8)))


@pytest.mark.parametrize("kind", sorted(GROWING - LISTED))
def test_added_points_leave_the_first_as_they_were(kind: str) -> None:
    design = read(kind, {**ranges(2), "x": SCATTERS["normal"]}, correlation={"f0*x": 0.5})
    assert np.array_equal(draw(add_points(design, {"points": 100}))[:64], draw(design))


def test_a_window_of_points_is_that_part_of_all() -> None:
    design = read("monte_carlo", {"a": "10 mm .. 20 mm", "b": {"low": 0, "high": 1}})
    everything = list(inputs_of(design, 0, 64))
    assert list(inputs_of(design, 10, 5)) == everything[10:15]
    assert [json.loads(line) for piece in lines_of(design, 60, 99) for line in piece.splitlines()] == everything[60:]
    assert isinstance(everything[0]["a"], str)
    assert everything[0]["a"].endswith(" mm")
    assert 10 <= float(everything[0]["a"].removesuffix(" mm")) <= 20
    assert isinstance(everything[0]["b"], float)


def test_points_of_a_grid_keep_words_and_units() -> None:
    design = parse_design({"kind": "grid", "factors": {"a": ["1 mm", "2 mm"], "s": ["S235", "S355"]}}, new_seed=1)
    assert list(inputs_of(design, 1, 2)) == [{"a": "1.0 mm", "s": "S355"}, {"a": "2.0 mm", "s": "S235"}]


@pytest.mark.parametrize("optimised", [False, True])
def test_a_latin_hypercube_has_a_point_in_each_row_and_column(optimised: bool) -> None:
    sample = unit_sample(read("latin_hypercube", ranges(4), points=40, optimised=optimised))
    assert np.array_equal(np.sort((sample * 40).astype(int), axis=0), np.repeat(np.arange(40)[:, None], 4, axis=1))


def test_optimising_a_latin_hypercube_makes_it_more_even() -> None:
    plain, even = (unit_sample(read("latin_hypercube", ranges(3), points=50, optimised=said)) for said in (False, True))
    assert qmc.discrepancy(even) < qmc.discrepancy(plain)


@pytest.mark.parametrize(
    ("kind", "scrambled"), [("sobol", True), ("sobol", False), ("halton", True), ("halton", False)]
)
def test_sequences_are_more_even_than_chance(kind: str, scrambled: bool) -> None:
    sequence = unit_sample(read(kind, ranges(3), points=256, scrambled=scrambled))
    chance = [unit_sample(read("monte_carlo", ranges(3), points=256, seed=seed)) for seed in range(5)]
    assert qmc.discrepancy(sequence) < 0.5 * min(map(qmc.discrepancy, chance))


def test_a_sobol_sequence_is_balanced_at_powers_of_two() -> None:
    sample = unit_sample(read("sobol", ranges(5), points=128))
    assert np.array_equal(np.sort((sample * 128).astype(int), axis=0), np.repeat(np.arange(128)[:, None], 5, axis=1))


def test_a_trajectory_of_morris_changes_each_factor_once_by_half_the_grid() -> None:
    design = read("morris", ranges(5), grid_levels=4)
    steps = np.diff(unit_sample(design).reshape(20, 6, 5), axis=1)
    assert np.allclose(np.abs(steps).sum(axis=2), 2 / 3)
    assert (np.count_nonzero(np.abs(steps) > 1e-9, axis=1) == 1).all()
    assert np.allclose((unit_sample(design) * 3) % 1 % 1, 0, atol=1e-9) or set(
        np.round(unit_sample(design) * 3, 9).ravel()
    ) == {0, 1, 2, 3}


def test_the_design_for_sobol_indices_swaps_single_columns() -> None:
    design = read("sobol_indices", ranges(3))
    first, second, *mixed = draw(design).reshape(5, 64, 3)
    for place, block in enumerate(mixed):
        others = [other for other in range(3) if other != place]
        assert np.array_equal(block[:, place], second[:, place])
        assert np.array_equal(block[:, others], first[:, others])


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_of_a_distribution_are_those_asked_for(name: str) -> None:
    values = draw(read("monte_carlo", {"x": SCATTERS[name]}, points=50_000))[:, 0]
    mean, std = MOMENTS[name]
    assert abs(values.mean() - mean) < 4 * std / 50_000**0.5
    assert values.std() == pytest.approx(std, rel=0.02)


CURVES: dict[str, Any] = {
    "normal": stats.norm(10, 2).cdf,
    "uniform": stats.uniform(2, 6).cdf,
    "weibull": lambda x: 1 - np.exp(-(((x - 2) / 5) ** 1.7)),
    "triangular": stats.triang(0.25, 0, 4).cdf,
    "curve": lambda x: np.interp(x, [0, 1, 3], [0, 0.5, 1]),
    "truncated": stats.truncnorm(-1, 0.5).cdf,
    "far_tail": stats.truncnorm(8, np.inf).cdf,
}


@pytest.mark.parametrize("name", CURVES)
def test_a_sample_follows_the_curve_of_its_distribution(name: str) -> None:
    values = draw(read("monte_carlo", {"x": SCATTERS[name]}, points=20_000))[:, 0]
    assert stats.kstest(values, CURVES[name]).pvalue > 1e-4


def test_a_table_is_met_in_its_shares() -> None:
    values = draw(read("monte_carlo", {"x": SCATTERS["table"]}, points=20_000))[:, 0]
    found, counts = np.unique(values, return_counts=True)
    assert found.tolist() == [1, 2, 5]
    assert stats.chisquare(counts, [4_000, 10_000, 6_000]).pvalue > 1e-4


def test_truncated_values_stay_inside() -> None:
    values = draw(read("halton", {"x": SCATTERS["truncated"]}, points=5_000))[:, 0]
    assert -1 <= values.min() < -0.99
    assert 0.49 < values.max() <= 0.5


def test_truncation_that_leaves_no_probability_is_refused() -> None:
    design = read("monte_carlo", {"x": {**SCATTERS["normal"], "lower": 1e6, "upper": 1e6 + 1}})
    with pytest.raises(InvalidInputError) as caught:
        draw(design)
    assert caught.value.problems[0].path == "factors.x.upper"


@pytest.mark.parametrize("kind", ["monte_carlo", "sobol", "halton"])
def test_correlated_normal_factors_have_that_correlation(kind: str) -> None:
    factors = {"a": SCATTERS["normal"], "b": {"distribution": "normal", "mean": 0, "std": 5}, "c": SCATTERS["uniform"]}
    values = draw(read(kind, factors, points=20_000, correlation={"a*b": 0.7, "b*c": -0.4}))
    assert np.asarray(np.corrcoef(values.T))[0, 1] == pytest.approx(0.7, abs=0.02)
    assert stats.spearmanr(values[:, 1], values[:, 2]).statistic == pytest.approx(-0.385, abs=0.03)  # 6/pi asin(r/2)
    assert stats.kstest(values[:, 2], stats.uniform(2, 6).cdf).pvalue > 1e-4


def test_scores_keep_both_tails() -> None:
    factor = read("monte_carlo", {"x": SCATTERS["normal"]}).factors[0]
    scores = np.array([-30.0, -8, 0, 8, 30])
    assert from_scores(factor, scores) == pytest.approx(10 + 2 * scores, rel=1e-9)


def test_no_sampled_value_is_infinite() -> None:
    for scrambled in (False, True):
        sample = draw(
            read("sobol", {"x": SCATTERS["normal"], "y": SCATTERS["weibull"]}, points=4_096, scrambled=scrambled)
        )
        assert np.isfinite(sample).all()
