"""Designs without chance: how many points, balanced, orthogonal, where they should be."""

from itertools import combinations
from typing import Any

import pytest

from mecapy_platform.core.sampling.counts import count_of
from mecapy_platform.core.sampling.design import parse_design
from mecapy_platform.core.sampling.fractional import resolution
from mecapy_platform.core.sampling.hadamard import columns_for, order_for
from mecapy_platform.core.sampling.records import Design
from mecapy_platform.core.sampling.systematic import rows_of


def read(kind: str, **fields: Any) -> Design:
    return parse_design({"kind": kind, **fields}, new_seed=7)


def coded(factors: int) -> dict[str, Any]:
    return {f"f{number}": {"low": -1, "high": 1} for number in range(factors)}


def test_a_grid_goes_through_all_levels_and_its_ends_are_exact() -> None:
    factors = {"a": {"low": 0.1, "high": 0.3, "levels": 3}, "b": {"low": 1, "high": 100, "levels": 3, "spacing": "log"}}
    rows = list(rows_of(read("grid", factors={**factors, "c": ["x", "y"]})))
    assert len(set(rows)) == len(rows) == 18
    assert rows[0] == (0.1, 1.0, "x")
    assert rows[-1] == (0.3, 100.0, "y")
    assert sorted({row[1] for row in rows}) == pytest.approx([1, 10, 100])


def test_a_list_is_taken_as_it_is() -> None:
    assert list(rows_of(read("list", points=[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]))) == [(1, "x"), (2, "y")]


def test_one_at_a_time_leaves_the_others_at_their_nominal_values() -> None:
    factors = {"a": {"low": 0, "high": 4, "nominal": 1}, "b": "10 .. 20"}
    assert list(rows_of(read("one_at_a_time", factors=factors))) == [(1, 15), (0, 15), (4, 15), (1, 10), (1, 20)]


@pytest.mark.parametrize("factors", [*range(1, 40), 47, 59, 71, 88, 91, 95, 99, 100])
def test_plackett_burman_is_balanced_and_orthogonal(factors: int) -> None:
    table = columns_for(factors)
    runs = order_for(factors)
    assert len(table) == runs
    assert factors < runs <= factors + 8
    columns = list(zip(*table, strict=True))
    assert len(columns) == factors
    assert all(sum(column) == 0 for column in columns)
    assert all(sum(x * y for x, y in zip(*pair, strict=True)) == 0 for pair in combinations(columns, 2))


def test_eleven_factors_are_screened_by_twelve_runs() -> None:
    design = read("plackett_burman", factors=coded(11), centre_points=1)
    rows = list(rows_of(design))
    assert len(rows) == count_of(design) == 13
    assert rows[-1] == (0,) * 11


# Smallest known fractions: Box, Hunter and Hunter (2005), table 6.22.
@pytest.mark.parametrize(
    ("factors", "least", "runs"),
    [
        (3, 3, 4),
        (5, 3, 8),
        (7, 3, 8),
        (15, 3, 16),
        (4, 4, 8),
        (8, 4, 16),
        (16, 4, 32),
        (5, 5, 16),
        (6, 5, 32),
        (8, 5, 64),
    ],
)
def test_a_fraction_of_a_resolution_is_as_small_as_known(factors: int, least: int, runs: int) -> None:
    design = read("fractional_factorial", factors=coded(factors), resolution=least)
    rows = list(rows_of(design))
    assert len(rows) == count_of(design) == runs
    assert resolution(design.names, design.generators) >= least
    columns = list(zip(*rows, strict=True))
    assert all(sum(column) == 0 for column in columns)
    assert all(sum(x * y for x, y in zip(*pair, strict=True)) == 0 for pair in combinations(columns, 2))


def test_a_generated_factor_is_the_product_of_its_word() -> None:
    design = read("fractional_factorial", factors=coded(4), generators={"f3": "-f0*f1*f2"})
    assert all(row[3] == -row[0] * row[1] * row[2] for row in rows_of(design))
    assert resolution(design.names, design.generators) == 4


def test_a_central_composite_design_has_corners_stars_and_centres() -> None:
    rows = list(rows_of(read("central_composite", factors=coded(3), centre_points=2)))
    distances = sorted(sum(value**2 for value in row) ** 0.5 for row in rows)
    assert distances[:2] == [0, 0]
    assert distances[2:8] == pytest.approx([8**0.25] * 6)
    assert distances[8:] == pytest.approx([3**0.5] * 8)


@pytest.mark.parametrize(("variant", "most"), [("circumscribed", 2**0.5), ("inscribed", 1), ("faced", 1)])
def test_variants_of_central_composite_keep_to_the_range_or_leave_it(variant: str, most: float) -> None:
    rows = list(rows_of(read("central_composite", factors=coded(2), variant=variant)))
    assert max(abs(value) for row in rows for value in row) == pytest.approx(most)
    assert len(set(rows)) == 8
