import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "cantilever-mesh"
LENGTH, HEIGHT, FORCE, YOUNG = 0.1, 0.01, 100.0, 210e9
needs_ccx = pytest.mark.skipif(
    shutil.which("ccx") is None and not os.environ.get("MECAPY_REQUIRE_SERVICES"),
    reason="ccx is not installed (deploy/ci/install-debian.sh)",
)


@pytest.fixture
def cantilever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.setenv("MECAPY_SCRATCH", str(tmp_path))
    return importlib.import_module("cantilever")


def known(elements: int) -> float:
    """What fully integrated linear elements give: their shear adds G A h²/12 to the stiffness of bending."""
    step, area, second_moment, shear = LENGTH / elements, HEIGHT**2, HEIGHT**4 / 12, YOUNG / 2
    bending = YOUNG * second_moment + shear * area * step**2 / 12
    return FORCE * LENGTH / (shear * area) + FORCE * (LENGTH**3 / 3 - LENGTH * step**2 / 12) / bending


@needs_ccx
@pytest.mark.parametrize("elements", [1, 2, 10, 40, 160, 640])
def test_each_mesh_gives_what_theory_says_of_it(cantilever: ModuleType, elements: int) -> None:
    found = cantilever.deflection(elements, LENGTH, HEIGHT, FORCE)

    assert found["deflection"] == pytest.approx(known(elements), rel=2e-6)
    assert found["nodes"] == 4 * (elements + 1)


@needs_ccx
def test_what_ccx_refuses_is_told(cantilever: ModuleType) -> None:
    deck = cantilever.deck_of(2, LENGTH, HEIGHT, FORCE, YOUNG).replace("*ELASTIC", "*ELASTIK")

    with pytest.raises(RuntimeError, match="ccx ended with code"):
        cantilever.run_ccx(deck)


def test_the_mesh_fills_the_bar(cantilever: ModuleType) -> None:
    deck = cantilever.deck_of(4, 2.0, 0.5, FORCE, YOUNG).splitlines()

    nodes = [tuple(map(float, line.split(",")[1:])) for line in deck[1 : deck.index("*ELEMENT, TYPE=C3D8, ELSET=BAR")]]
    assert len(nodes) == 20
    assert {(min(axis), max(axis)) for axis in zip(*nodes, strict=True)} == {(0.0, 2.0), (0.0, 0.5)}


@pytest.mark.parametrize("elements", [0, -1, 20_001])
def test_a_number_of_elements_out_of_range_is_refused(cantilever: ModuleType, elements: int) -> None:
    with pytest.raises(ValueError, match="give 1 to 20000"):
        cantilever.deflection(elements, LENGTH, HEIGHT, FORCE)
