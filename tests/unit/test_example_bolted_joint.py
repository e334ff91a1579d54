import importlib
import math
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "bolted-joint"


@pytest.fixture
def bolts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PACKAGE))
    return importlib.import_module("bolts")


@pytest.mark.parametrize("width_mm", [50, 30, 20, 16])
def test_compliance_of_the_clamped_parts_is_the_integral_over_the_cone(bolts: ModuleType, width_mm: float) -> None:
    bolt, length, modulus, width = bolts.hexagon_bolt(0.012, 8.8), 0.04, 205e9, width_mm * 1e-3
    slope = bolts.vdi.cone_slope(bolt, length, width) if width > bolt.bearing_diameter else 0.0
    slices = 20_000
    step = length / 2 / slices
    areas = (
        bolts.circle(min(width, bolt.bearing_diameter + 2 * slope * (i + 0.5) * step))
        - bolts.circle(bolt.hole_diameter)
        for i in range(slices)
    )
    by_integration = 2 * sum(step / (modulus * area) for area in areas)

    assert bolts.vdi.plate_compliance(bolt, length, width, modulus) == pytest.approx(by_integration, rel=1e-6)


@pytest.mark.parametrize(
    ("diameter_mm", "area_mm2"), [(8, 36.6), (10, 58.0), (12, 84.3), (16, 157), (20, 245), (24, 353), (30, 561)]
)
def test_stress_areas_are_those_of_iso_898(bolts: ModuleType, diameter_mm: float, area_mm2: float) -> None:
    assert bolts.hexagon_bolt(diameter_mm * 1e-3, 8.8).stress_area * 1e6 == pytest.approx(area_mm2, rel=3e-3)


def test_torque_and_preload_undo_each_other(bolts: ModuleType) -> None:
    sized = bolts.size(0.016, 10e3, mu_thread=0.14, mu_head=0.10)

    assert bolts.preload(0.016, sized["torque"], 0.14, 0.10)["preload"] == pytest.approx(sized["preload"])


def test_forces_balance_when_the_load_comes(bolts: ModuleType) -> None:
    free, loaded = bolts.size(0.012, 0.0), bolts.size(0.012, 10e3)

    more_in_bolt = loaded["bolt_force"] - free["bolt_force"]
    less_in_joint = free["residual_clamp_force"] - loaded["residual_clamp_force"]
    assert more_in_bolt + less_in_joint == pytest.approx(10e3)
    assert "fatigue" not in free["safety"]
    assert all(math.isfinite(factor) for factor in loaded["safety"].values())


def test_softer_parts_leave_more_of_the_load_to_the_bolt(bolts: ModuleType) -> None:
    assert bolts.size(0.012, 10e3, plate_modulus=70e9)["load_factor"] > 1.5 * bolts.size(0.012, 10e3)["load_factor"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"diameter": 0.013, "load": 1.0}, "no M13"),
        ({"diameter": 0.012, "load": 1.0, "grade": 5.6}, "5.6"),
        ({"diameter": 0.012, "load": -1.0}, "0 or more"),
        ({"diameter": 0.012, "load": 1.0, "mu_head": 0.0}, "mu_head is 0"),
        ({"diameter": 0.012, "load": 1.0, "plate_diameter": 0.012}, "no material"),
    ],
)
def test_what_cannot_be_a_joint_is_refused_with_its_reason(
    bolts: ModuleType, call: dict[str, float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        bolts.size(**call)
