import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
AREA = 1.0  # m²: members that hardly lengthen, as the hand formulas have it


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES / "portal-frame"))
    return importlib.import_module("portal")


@pytest.fixture
def frame(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES / "beam-frame"))
    monkeypatch.delenv("MECAPY_SCRATCH", raising=False)
    return importlib.import_module("frame")


def by_elements(frame: ModuleType, post: Any, rafter: Any, load: float, wind: float) -> dict[str, Any]:
    """The frame of 4 m by 8 m, cut into many elements so that nodes lie near the largest moment."""

    def section(tube: Any) -> dict[str, float]:
        return {"A": AREA, "Iy": tube.second_moment, "Iz": tube.second_moment, "J": 1e-4}

    pieces = 200
    nodes = {"A": [0, 0, 0], "D": [8, 0, 0]} | {f"b{at}": [8 * at / pieces, 0, 4] for at in range(pieces + 1)}
    common = {"material": "steel", "divisions": 1}
    beam = {"section": "rafter", "load": [0, 0, -load], **common}
    members = {f"m{at}": {"nodes": [f"b{at}", f"b{at + 1}"], **beam} for at in range(pieces)}
    members["left"] = {"nodes": ["A", "b0"], "section": "post", **common}
    members["right"] = {"nodes": ["D", f"b{pieces}"], "section": "post", **common}
    model = {
        "nodes": nodes,
        "materials": {"steel": {"E": 210e9, "nu": 0.3, "rho": 7850.0}},
        "sections": {"post": section(post), "rafter": section(rafter)},
        "members": members,
        "supports": {"A": "fixed", "D": "fixed"},
        "loads": {"b0": {"force": [wind, 0, 0]}},
    }
    found: dict[str, Any] = frame.solve(model)
    return found


@pytest.mark.parametrize(("column", "beam"), [(0.18134, 0.16685), (0.15, 0.25), (0.25, 0.12)])
@pytest.mark.parametrize(("load", "wind"), [(8e3, 25e3), (8e3, 0.0), (0.0, 25e3), (2e3, 60e3)])
def test_hand_formulas_are_what_finite_elements_give(
    portal: ModuleType, frame: ModuleType, column: float, beam: float, load: float, wind: float
) -> None:
    post, rafter = portal.Tube(column), portal.Tube(beam)
    exact = by_elements(frame, post, rafter, load, wind)
    forces = exact["end_forces"]
    thrust = abs(exact["reactions"]["D"]["force"][2])
    bent = max(abs(forces["right"][place]) for place in (4, 5, 10, 11))
    along = max(abs(row[place]) for name, row in forces.items() if name[0] == "m" for place in (4, 5, 10, 11))

    found = portal.check(column, beam, 4.0, 8.0, load, wind)

    assert found["column_stress"] == pytest.approx(bent / post.modulus + thrust / post.area, rel=1e-4)
    assert found["beam_stress"] == pytest.approx(along / rafter.modulus, rel=1e-4)
    assert found["sway"] == pytest.approx(exact["displacements"]["b0"][0], rel=1e-4, abs=1e-6)


def test_the_mass_is_that_of_the_walls(portal: ModuleType) -> None:
    found = portal.check(0.2, 0.1, 4.0, 8.0, 0.0, 0.0, density=1000.0)

    walls = 2 * 4.0 * (0.2**2 - 0.18**2) + 8.0 * (0.1**2 - 0.09**2)
    assert found["mass"] == pytest.approx(1000.0 * walls)


def test_a_wind_from_the_other_side_is_refused(portal: ModuleType) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        portal.check(0.2, 0.2, 4.0, 8.0, 0.0, -1.0)
