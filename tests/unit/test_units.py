"""Quantities as people write them."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.types import CATALOG
from mecapy_platform.core.units import UNITS, QuantityError, UnitSystem, convert, to_number, unit_of


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("12 mm", "Length", 0.012),
        ("20kN", "Force", 20_000),
        ("210 GPa", "Stress", 210e9),
        ("210 N/mm2", "Pressure", 210e6),
        ("20 degC", "Temperature", 293.15),
        ("20 °C", "Temperature", 293.15),
        ("68 degF", "Temperature", 293.15),
        ("300 K", "Temperature", 300),
        ("3/4 inch", "Length", 0.01905),
        ("60 rpm", "Frequency", 1),
        ("120 Nm", "Moment", 120),
        ("84 N·m", "Moment", 84),
        ("10 kN m", "Moment", 10_000),
        ("7850 kg/m³", "Density", 7850),
        ("9.81 m/s**2", "Acceleration", 9.81),
        ("36 km/h", "Velocity", 10),
        ("180 deg", "Angle", 3.141592653589793),
        ("5 cm^2", "Area", 5e-4),
        ("1 L", "Volume", 1e-3),
        ("1 kWh", "Energy", 3.6e6),
        ("3 kW", "Power", 3000),
        ("2 t", "Mass", 2000),
        ("2 min", "Time", 120),
        ("-1.5e-3", "Length", -0.0015),
        ("12", "Length", 12),
    ],
)
def test_a_quantity_becomes_a_number_in_si(text: str, kind: str, number: float) -> None:
    assert to_number(text, kind) == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "kind", "code", "said"),
    [
        ("12 kg", "Length", "unit_mismatch", 'is a mass; Length expects a length such as "12 mm"'),
        ("12 mm", "Force", "unit_mismatch", "is a length; Force expects a force"),
        ("5 rad", "Frequency", "unit_mismatch", "an angle"),
        ("5 %", "Length", "unit_mismatch", "a pure number"),
        ("5 W/degC", "Power", "unit_mismatch", "cannot stand in a product"),
        ("-300 degC", "Temperature", "unit_mismatch", "absolute zero"),
        ("5 pa", "Stress", "unknown_unit", "no unit known"),
        ("5 banana", "Stress", "unknown_unit", "no unit known"),
        ("9**9**9 m", "Length", "not_a_quantity", "write a number and a unit"),
        ("1" * 500 + " m", "Length", "not_a_quantity", ".."),
        ("5 m^999", "Length", "not_a_quantity", "number"),
        ("nan m", "Length", "not_a_quantity", "number"),
        ("inf", "Length", "not_a_quantity", "number"),
        ("1e999 m", "Length", "not_finite", "finite"),
        ("1/0 m", "Length", "not_a_quantity", "number"),
        ("__import__('os')", "Length", "not_a_quantity", "number"),
        ("", "Length", "not_a_quantity", "number"),
        ("mm", "Length", "not_a_quantity", "number"),
    ],
)
def test_what_is_no_such_quantity_is_refused_with_a_reason(text: str, kind: str, code: str, said: str) -> None:
    with pytest.raises(QuantityError) as caught:
        to_number(text, kind)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_a_package_in_millimetres_gets_millimetres() -> None:
    assert to_number("12 mm", "Length", UnitSystem.MM_N_MPA) == pytest.approx(12)
    assert to_number("210 GPa", "Stress", UnitSystem.MM_N_MPA) == pytest.approx(210_000)
    assert to_number("7850 kg/m^3", "Density", UnitSystem.MM_N_MPA) == pytest.approx(7.85e-9)
    assert unit_of("Moment", UnitSystem.MM_N_MPA) == "N*mm"


def test_every_physical_type_has_a_unit_that_converts_to_itself() -> None:
    physical = {name for name, entry in CATALOG.items() if entry.category == "physical"}
    assert physical == set(UNITS)
    for name in physical:
        assert to_number(f"2 {unit_of(name)}", name) == pytest.approx(2)
        assert to_number(UNITS[name][2], name) > 0


@given(st.text(alphabet="0123456789.eE+-*/^ mkNPa²()_", max_size=40))
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_finite_number_or_a_refusal(text: str) -> None:
    try:
        number = to_number(text, "Force")
    except QuantityError:
        return
    assert abs(number) < float("inf")


def test_the_error_of_an_input_names_its_path() -> None:
    with pytest.raises(InvalidInputError) as caught:
        convert("12 kg", "Length", "diameter")
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [("diameter", "unit_mismatch")]


def test_importing_the_module_does_not_load_pint() -> None:
    code = "import sys, mecapy_platform.core.values, mecapy_platform.core.manifest; print('pint' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
