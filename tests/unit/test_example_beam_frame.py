import importlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "beam-frame"
STEEL = {"E": 210e9, "nu": 0.3, "rho": 7850.0}
TUBE = {"A": 4.2e-3, "Iy": 1.5e-5, "Iz": 1.5e-5, "J": 2.4e-5}


@pytest.fixture
def frame(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.delenv("MECAPY_SCRATCH", raising=False)
    return importlib.import_module("frame")


def cantilever(tip: tuple[float, float, float], **member: Any) -> dict[str, Any]:
    return {
        "nodes": {"A": [0, 0, 0], "B": list(tip)},
        "materials": {"steel": STEEL},
        "sections": {"tube": TUBE},
        "members": {"m": {"nodes": ["A", "B"], "material": "steel", "section": "tube", **member}},
        "supports": {"A": "fixed"},
    }


@pytest.mark.parametrize("tip", [(2, 0, 0), (0, 2, 0), (0, 0, 2), (-2, 0, 0), (2 / 3, 4 / 3, 4 / 3)])
def test_frequencies_do_not_depend_on_the_direction_in_space(
    frame: ModuleType, tip: tuple[float, float, float]
) -> None:
    found = frame.solve(cantilever(tip, divisions=8), modes=1)["frequencies"]

    exact = 1.87510407**2 / (2 * math.pi) * math.sqrt(210e9 * 1.5e-5 / (7850 * 4.2e-3 * 2**4))
    assert found == pytest.approx([exact], rel=1e-4)


def test_many_unknowns_give_the_frequencies_of_few(frame: ModuleType) -> None:
    few = frame.solve(cantilever((3, 0, 0), divisions=20), modes=4)["frequencies"]
    many = frame.solve(cantilever((3, 0, 0), divisions=200), modes=4)["frequencies"]

    assert many == pytest.approx(few, rel=1e-5)


def test_reactions_balance_the_loads(frame: ModuleType) -> None:
    inputs = json.loads((PACKAGE / "models" / "portal.json").read_text())
    reactions = frame.solve(**inputs)["reactions"]

    total = [sum(support["force"][axis] for support in reactions.values()) for axis in range(3)]
    assert total == pytest.approx([-12_000, 0, 8000 * 5], abs=1e-3)
    assert reactions["D"]["moment"] == pytest.approx([0, 0, 0], abs=1e-3)


def test_end_forces_of_a_cantilever_are_its_clamping_moment_and_nothing_at_the_tip(frame: ModuleType) -> None:
    forces = frame.solve(cantilever((2, 0, 0), load=[0, 0, -1000]))["end_forces"]["m"]

    assert forces[:6] == pytest.approx([0, 0, 2000, 0, -2000, 0], abs=1e-6)
    assert forces[6:] == pytest.approx([0] * 6, abs=1e-6)


@pytest.mark.parametrize("supports", [{"A": ["ux", "uy", "uz"]}, {"A": ["ux"]}])
def test_a_frame_that_can_move_freely_is_refused(frame: ModuleType, supports: dict[str, list[str]]) -> None:
    model = cantilever((2, 1, 0), load=[0, 0, -1000]) | {"supports": supports}

    with pytest.raises(ValueError, match="move freely"):
        frame.solve(model)


def test_all_faults_of_a_model_are_reported_at_once(frame: ModuleType) -> None:
    model = cantilever((2, 0, 0)) | {"supports": {"A": "glued", "Z": "fixed"}, "loads": {"Y": {"force": [1, 0, 0]}}}
    model["members"]["n"] = {"nodes": ["A", "Q"], "material": "wood", "section": "tube"}

    with pytest.raises(ValueError, match=r"there is no Q.*wood.*supports\.A.*supports\.Z.*loads\.Y"):
        frame.solve(model)


def test_a_run_leaves_progress_a_drawing_and_a_table(
    frame: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("MECAPY_SCRATCH", str(tmp_path / "scratch"))

    frame.solve(cantilever((2, 0, 0), load=[0, 0, -1000], divisions=6))

    progress = [json.loads(line) for line in (tmp_path / "out" / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in progress] == [1, 2, 3, 4]
    assert (tmp_path / "out" / "artifacts" / "deformed.svg").read_text().count("<line") == 12
    assert len((tmp_path / "out" / "artifacts" / "displacements.csv").read_text().splitlines()) == 1 + 7
