"""What examples/calculix says of each kind of procedure: states, modes, factors, temperatures, and steps left out."""

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "calculix"
pytestmark = pytest.mark.skipif(
    shutil.which("ccx") is None and not os.environ.get("MECAPY_REQUIRE_SERVICES"),
    reason="ccx is not installed (deploy/ci/install-debian.sh)",
)
COLUMN = """*NODE,NSET=NALL
1,0,0,0
2,2,0,0
3,2,2,0
4,0,2,0
5,0,0,20
6,2,0,20
7,2,2,20
8,0,2,20
*ELEMENT,TYPE=C3D8I,ELSET=EALL
1,1,2,3,4,5,6,7,8
*NSET,NSET=FIX
1,2,3,4
*NSET,NSET=TOP
5,6,7,8
*MATERIAL,NAME=STEEL
*ELASTIC
210000,0
*DENSITY
7.85E-9
*CONDUCTIVITY
50
*EXPANSION
0
*SOLID SECTION,ELSET=EALL,MATERIAL=STEEL
*BOUNDARY
FIX,1,3
*INITIAL CONDITIONS,TYPE=TEMPERATURE
NALL,20
"""
SAVED = "*NODE FILE\nU\n*EL FILE\nS\n"
PRESS = "*CLOAD\nTOP,3,-100\n"
END = "*END STEP\n"
STATIC = f"*STEP\n*STATIC\n{PRESS}{SAVED}{END}"
MODES = f"*STEP\n*FREQUENCY,STORAGE=YES\n3\n{SAVED}{END}"
HEAT = "*STEP\n*HEAT TRANSFER,STEADY STATE\n*BOUNDARY\nFIX,11,11,-5\nTOP,11,11,80\n"


@pytest.fixture
def solve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(PACKAGE))
    for folder in ("scratch", "out"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("MECAPY_SCRATCH", str(tmp_path / "scratch"))
    calculix: ModuleType = importlib.import_module("calculix")

    def solved(steps: str) -> dict[str, Any]:
        (tmp_path / "column.inp").write_text(COLUMN + steps)
        found: dict[str, Any] = calculix.solve(tmp_path / "column.inp")
        return found

    return solved


def is_pressed(result: dict[str, Any]) -> bool:
    """400 N on 4 mm²: 100 MPa, and F L / (E A) of shortening."""
    return bool(
        result["max_von_mises"] == pytest.approx(100, rel=1e-3)
        and result["max_displacement"] == pytest.approx(400 * 20 / (210_000 * 4), rel=1e-3)
        and result["last_displacement"] == result["max_displacement"]
    )


def said(result: dict[str, Any]) -> str:
    return " ".join(result["notes"])


@pytest.mark.parametrize("before", ["", STATIC])
def test_buckling_gives_factors_and_the_state_under_its_reference_load(solve: Any, before: str) -> None:
    result = solve(before + f"*STEP\n*BUCKLE\n2\n{PRESS}{SAVED}{END}")
    assert is_pressed(result)
    assert len(result["buckling_factors"]) == 2
    assert result["buckling_factors"][0] > 1
    assert "do not count towards the extremes" in said(result)


def test_buckling_that_saves_nothing_gives_factors_all_the_same(solve: Any) -> None:
    result = solve(f"*STEP\n*BUCKLE\n2\n{PRESS}{END}")
    assert len(result["buckling_factors"]) == 2
    assert "saves no displacements" in said(result)


@pytest.mark.parametrize("saved", [SAVED, ""])
def test_frequencies_are_given_whether_modes_are_saved_or_not(solve: Any, saved: str) -> None:
    result = solve(STATIC + f"*STEP\n*FREQUENCY\n3\n{saved}{END}")
    assert is_pressed(result)
    assert len(result["frequencies"]) == 3
    assert result["frequencies"][0] == pytest.approx(result["frequencies"][1], rel=1e-3)
    assert "Mode shapes" in said(result)


def test_complex_modes_are_no_states(solve: Any) -> None:
    spin = "*DLOAD\nEALL,CENTRIF,1.E4,0.,0.,0.,0.,0.,1.\n"
    result = solve(STATIC + MODES + f"*STEP\n*COMPLEX FREQUENCY,CORIOLIS\n2\n{spin}{SAVED}{END}")
    assert is_pressed(result)
    assert len(result["frequencies"]) == 5
    assert "complex" in said(result)


def test_a_harmonic_response_is_no_state(solve: Any) -> None:
    response = f"*STEP\n*STEADY STATE DYNAMICS\n100.,1.E4,3\n*MODAL DAMPING\n1,3,0.02\n{PRESS}{SAVED}{END}"
    result = solve(STATIC + MODES + response)
    assert is_pressed(result)
    assert "STEADY STATE DYNAMICS" in said(result)


def test_green_functions_are_neither_states_nor_frequencies(solve: Any) -> None:
    result = solve(f"*STEP\n*GREEN\n*CLOAD\n8,1,1\n8,2,1\n{SAVED}{END}")
    assert (result["frequencies"], result["max_displacement"]) == ([], 0)
    assert "Green functions" in said(result)


def test_a_modal_history_counts_and_its_modes_do_not(solve: Any) -> None:
    result = solve(MODES + f"*STEP\n*MODAL DYNAMIC\n1.E-4,2.E-4\n{PRESS}{SAVED}{END}")
    assert 0 < result["max_displacement"] < 0.1
    assert len(result["frequencies"]) == 3


def test_temperatures_are_given_as_a_range(solve: Any) -> None:
    result = solve(HEAT + f"*NODE FILE\nNT\n{END}")
    assert result["temperature_range"] == pytest.approx([-5, 80])
    assert "No step has displacements" in said(result)
    assert "saves no" not in said(result)


def test_temperatures_that_are_not_saved_are_said_to_be_absent(solve: Any) -> None:
    result = solve(HEAT + f"*EL FILE\nHFL\n{END}")
    assert result["temperature_range"] == []
    assert "saves no temperatures" in said(result)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (STATIC.removesuffix(END), "the last step has no \\*END STEP; nothing was computed"),
        (STATIC + STATIC.removesuffix(END), "the last step has no \\*END STEP; step 2 was not computed"),
        (f"*STEP\n*STATIC\n{PRESS}", "nothing was computed"),
    ],
)
def test_a_step_that_is_not_ended_fails(solve: Any, steps: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        solve(steps)


def test_a_deck_without_a_step_fails(solve: Any) -> None:
    with pytest.raises(RuntimeError, match=r"no \*STEP|rejected the deck"):
        solve("")


def test_an_empty_last_step_is_said(solve: Any) -> None:
    result = solve(STATIC + "*STEP\n")
    assert is_pressed(result)
    assert "empty" in said(result)


@pytest.mark.parametrize("printed", ["0.1234567-100", "************", "NaN"])
def test_a_printed_figure_that_is_no_number_is_left_out(solve: Any, tmp_path: Path, printed: str) -> None:
    assert solve  # puts the package on the path
    calculix = importlib.import_module("calculix")
    (tmp_path / "a.dat").write_text(
        f"     {calculix.FACTORS}\n\n MODE NO  FACTOR\n\n      1   {printed}\n      2   0.5E+01\n"
    )
    assert calculix.table(tmp_path / "a.dat", calculix.FACTORS, 1) == [5.0]
