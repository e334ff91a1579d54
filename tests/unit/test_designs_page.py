"""The pages about designs and statistics say what there is, and their examples can be drawn."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mecapy_platform.core.sampling.design import parse_design
from mecapy_platform.core.sampling.driven import Method, parse_driven
from mecapy_platform.core.sampling.kinds import DesignKind, DistributionKind, DrivenKind, Variant
from mecapy_platform.numerics.analysis import WANTED
from mecapy_platform.numerics.plots import Plot

PAGES = Path(__file__).parents[2] / "docs/reference"
DESIGNS = (PAGES / "designs.md").read_text("utf-8")
STATISTICS = (PAGES / "study-statistics.md").read_text("utf-8")
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DESIGNS, re.DOTALL)]


@pytest.mark.parametrize("word", [*DesignKind, *DrivenKind, *DistributionKind, *Variant, *Method])
def test_each_kind_is_explained(word: str) -> None:
    assert f"`{word}`" in DESIGNS or f"**{word}**" in DESIGNS or f" {word} " in DESIGNS


@pytest.mark.parametrize("word", [*WANTED, *Plot])
def test_each_statistic_and_plot_is_explained(word: str) -> None:
    assert f"`{word}`" in STATISTICS


def test_the_factors_of_the_example_can_be_drawn() -> None:
    factors = BLOCKS[0]["factors"]
    kinds = {"steel": "grid", "mesh": "grid", "load": "one_at_a_time", "friction": "monte_carlo", "diameter": "sobol"}
    assert set(factors) == set(kinds)
    for name, kind in kinds.items():
        sized = {"points": 10} if kind in {"monte_carlo", "sobol"} else {}
        assert parse_design({"kind": kind, "factors": {name: factors[name]}, **sized}, new_seed=1).names == (name,)


def test_the_example_of_an_optimisation_is_one() -> None:
    driven = parse_driven(BLOCKS[1], new_seed=1)
    assert driven.constraints[0].at_most == 160e6
    assert driven.factors[1].whole
