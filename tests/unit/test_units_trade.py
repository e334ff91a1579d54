"""Quantities as French, German, Swiss and American engineers write them: numbers, units of the trade, products."""

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mecapy_platform.core.units import QuantityError, in_unit, read_number, read_unit, to_number
from mecapy_platform.core.units.table import spellings
from mecapy_platform.core.values import check_inputs

THIN, NARROW, NO_BREAK, FIGURE = "\u2009", "\u202f", "\u00a0", "\u2007"
SPACES = (" ", THIN, NARROW, NO_BREAK, FIGURE)


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("12,5 mm", 0.0125),
        (f"12,5{NARROW}mm", 0.0125),
        (f"12,5{NO_BREAK}mm", 0.0125),
        (",5 m", 0.5),
        ("0,125 m", 0.125),
        ("1,2345 m", 1.2345),
        ("1234,567 m", 1234.567),
        ("1 234,567 m", 1234.567),
        ("1'234.5 m", 1234.5),
        ("1\u2019234,5 m", 1234.5),
        ("1.234,5 m", 1234.5),
        ("1,234.5 m", 1234.5),
        ("1.234.567 m", 1_234_567),
        ("1,234,567 m", 1_234_567),
        ("12 345 678 m", 12_345_678),
        ("1.234 m", 1.234),
        ("3,141 592 65 m", 3.14159265),
        ("\u22125 m", -5),
        ("- 5 m", -5),
        ("+1,5e3 m", 1500),
        ("1,5E-3 m", 0.0015),
        ("1,2·10^3 m", 1200),
        ("1.2\u00d710⁻³ m", 0.0012),
        ("1,2.10^3 m", 1200),
        ("10^6 m", 1e6),
        ("1 1/2 m", 1.5),
        ("3/4 m", 0.75),
        ("12.", 12),
        ("9 mm", 0.009),
    ],
)
def test_a_number_is_read_as_its_writer_meant_it(text: str, metres: float) -> None:
    assert to_number(text, "Length") == metres


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [
        ("1,234 mm", '"1.234 mm"', '"1234 mm"'),
        ("-12,500", '"-12.500"', '"-12500"'),
        ("999,999 kN", '"999.999 kN"', '"999999 kN"'),
        ("1,500e3 m", '"1.500e3 m"', '"1500e3 m"'),
    ],
)
def test_a_number_with_two_readings_is_refused_with_both(text: str, one: str, other: str) -> None:
    with pytest.raises(QuantityError) as caught:
        to_number(text, "Length")
    assert caught.value.code == "ambiguous_quantity"
    assert one in str(caught.value)
    assert other in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1,2,3 m",
            "12.34,5 m",
            "12,34.5 m",
            "1,23,456 m",
            "1..5 m",
            "1,,5 m",
            "5-10 mm",
            "5\u201310 mm",
            "1 23 m",
            "1,",
        ),
        *("3 5/4 m", "2.10-3 m", "1'23 m", "1 234 5 m", "0.123.456 m", "1,5;2 m", "12 mm 3", "1e3,5 m", ", m"),
        "1 234 567 8",
    ],
)
def test_what_only_resembles_a_number_is_refused(text: str) -> None:
    with pytest.raises(QuantityError) as caught:
        to_number(text, "Length")
    assert caught.value.code in {"not_a_quantity", "unknown_unit"}


@given(st.integers(0, 10**12 - 1), st.integers(0, 9999), st.sampled_from(SPACES), st.sampled_from(".,"), st.booleans())
@settings(max_examples=200, deadline=None)
def test_grouping_changes_no_number(whole: int, part: int, space: str, mark: str, is_negative: bool) -> None:
    sign = "-" if is_negative else ""
    text = f"{sign}{whole:,}".replace(",", space) + f"{mark}{part:04d}"
    read = read_number(text)
    assert read is not None
    assert float(read[0]) == float(f"{sign}{whole}.{part:04d}")
    assert read[1] == ""


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_what_python_prints_is_read_back_exactly(number: float) -> None:
    assert to_number(repr(number), "Force") == number


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("12 daN", "Force", 120),
        ("12 décanewtons", "Force", 120),
        ("3 hN", "Force", 300),
        ("1 kgf", "Force", 9.80665),
        ("1 kp", "Force", 9.80665),
        ("1 lbf", "Force", 4.4482216152605),
        ("1 kip", "Force", 4448.2216152605),
        ("3000 tr/min", "Frequency", 50),
        ("3000 trs/min", "Frequency", 50),
        ("3000 tours par minute", "Frequency", 50),
        ("3000 U/min", "Frequency", 50),
        ("3000 min⁻¹", "Frequency", 50),
        ("3000 1/min", "Frequency", 50),
        ("2 tr/s", "Frequency", 2),
        ("0.5 tr", "Angle", math.pi),
        ("0,5 tour", "Angle", math.pi),
        ("100 gon", "Angle", math.pi / 2),
        ("180°", "Angle", math.pi),
        ("180 º", "Angle", math.pi),
        ("180 degrés", "Angle", math.pi),
        ("20 °C", "Temperature", 293.15),
        ("20 ºC", "Temperature", 293.15),
        ("20 ° C", "Temperature", 293.15),
        ("20 ℃", "Temperature", 293.15),
        ("68 °F", "Temperature", 293.15),
        ("2,5 t", "Mass", 2500),
        ("7,85 t/m3", "Density", 7850),
        ("8 bar", "Pressure", 8e5),
        ("1 hbar", "Stress", 1e7),
        ("1 ksi", "Stress", 6894757.293168361),
        ("1 psi", "Pressure", 6894.757293168361),
        ("1 daN/mm²", "Stress", 1e7),
        ("10 kgf/mm2", "Stress", 98066500),
        ("5 \u00b5m", "Length", 5e-6),
        ("5 \u03bcm", "Length", 5e-6),
        ("5 microns", "Length", 5e-6),
        ("3 hm", "Length", 300),
        ("3 dam", "Length", 30),
        ("2 mètres", "Length", 2),
        ("2 me\u0300tres", "Length", 2),
        ("3 pouces", "Length", 0.0762),
        ('3/4"', "Length", 0.01905),
        ("12 in.", "Length", 0.3048),
        ("5 newtons", "Force", 5),
        ("2 h", "Time", 7200),
        ("2 heures", "Time", 7200),
        ("1,5 minute", "Time", 90),
        ("5 litres", "Volume", 0.005),
        ("25 cl", "Volume", 0.00025),
        ("100 ch", "Power", 73549.875),
    ],
)
def test_the_units_of_the_trade_are_known(text: str, kind: str, number: float) -> None:
    assert to_number(text, kind) == pytest.approx(number, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("85 N.m", "Moment", 85),
        ("1.5 N.m", "Moment", 1.5),
        ("1.2 kN.m", "Moment", 1200),
        ("1500 N.mm", "Moment", 1.5),
        ("12 daN.m", "Moment", 120),
        ("12 daNm", "Moment", 120),
        ("12 N∙m", "Moment", 12),
        ("12 N•m", "Moment", 12),
        ("12 N \u00d7 m", "Moment", 12),
        ("12 N-m", "Moment", 12),
        (f"12 N{NARROW}m", "Moment", 12),
        ("10 m.s-1", "Velocity", 10),
        ("10 m s-1", "Velocity", 10),
        ("10 m·s⁻¹", "Velocity", 10),
        ("10 m.s\u22121", "Velocity", 10),
        ("9,81 m.s^-2", "Acceleration", 9.81),
        ("9,81 m/s/s", "Acceleration", 9.81),
        ("7850 kg.m-3", "Density", 7850),
        ("7850 kg.m**(-3)", "Density", 7850),
        ("10 lbf.ft", "Moment", 13.558179483314004),
        ("3 kg·m²·s⁻²", "Energy", 3),
        ("3 kg·m²/s²", "Energy", 3),
        ("3 (m/s)^2·kg", "Energy", 3),
        ("3 N/(m·m)", "Pressure", 3),
        ("210 N/mm²", "Stress", 2.1e8),
    ],
)
def test_products_are_read_as_standards_print_them(text: str, kind: str, number: float) -> None:
    assert to_number(text, kind) == pytest.approx(number, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("12 kN/m", "N/m", 12_000),
        ("12 daN/cm", "kN/m", 12),
        ("1 W/(m.K)", "W/m/K", 1),
        ("1 cSt", "mm^2/s", 1),
        ("50 MPa.m^0.5", "Pa*m^0.5", 50e6),
        ("300 tr/min", "rad/s", 10 * math.pi),
        ("5", "kN/m", 5),
    ],
)
def test_a_unit_without_a_named_type_converts_too(text: str, unit: str, number: float) -> None:
    assert in_unit(text, unit) == pytest.approx(number, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5 W/m.K", "W/(m.K) or W*K/m"),
        ("5 W/m K", "W/(m K) or W*K/m"),
        ("5 J/kg·K·s", "J/(kg·K·s) or J*K*s/kg"),
    ],
)
def test_a_product_after_a_solidus_is_refused_with_both_readings(text: str, said: str) -> None:
    with pytest.raises(QuantityError) as caught:
        in_unit(text, "W/(m*K)")
    assert caught.value.code == "ambiguous_quantity"
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("5 Ns", "Force"), ("5 Pas", "Pressure"), ("5 Ws", "Power"), ("5 ms2", "Length"), ("5 kNs", "Force")],
)
def test_an_unknown_product_without_a_sign_is_no_plural(text: str, kind: str) -> None:
    with pytest.raises(QuantityError):
        to_number(text, kind)


@pytest.mark.parametrize(
    ("text", "kind", "near"), [("5 Mpa", "Stress", "MPa"), ("5 KN", "Force", "kN"), ("20 C", "Temperature", "°C")]
)
def test_an_unknown_unit_says_what_is_near(text: str, kind: str, near: str) -> None:
    with pytest.raises(QuantityError, match=re.escape(near)) as caught:
        to_number(text, kind)
    assert caught.value.code == "unknown_unit"


def test_every_spelling_is_read_as_the_unit_of_the_table() -> None:
    assert {name for name, unit in spellings().items() if read_unit(name) != unit} == set()


def test_a_prefix_never_makes_a_spelling_of_another_unit_by_accident() -> None:
    """A spelling that a prefix and a symbol make too is one on this list, on purpose the plain unit."""
    known = spellings()
    prefixes = {"n": -9, "u": -6, "m": -3, "c": -2, "d": -1, "da": 1, "h": 2, "k": 3, "M": 6, "G": 9, "T": 12}
    made = {
        prefix + symbol
        for prefix, symbol in itertools.product(prefixes, known)
        if prefix + symbol in known and known[prefix + symbol].dimension != known[symbol].dimension
    }
    assert made == {"ch", "hr", "min"}


def test_every_input_of_a_task_is_read_so() -> None:
    ports = {"loads": {"type": "list[Force]"}, "bend": {"type": "Moment3"}, "at": {"type": "{x: Length, y: Length}"}}
    given_ = {"loads": ["12 daN", "1,5 kN"], "bend": ["85 N.m", 0, "1.2 kN.m"], "at": {"x": "12,5 mm", "y": "1 000 mm"}}
    assert check_inputs(ports, given_, {}) == {
        "loads": [120, 1500],
        "bend": [85, 0, 1200],
        "at": {"x": 0.0125, "y": 1},
    }


@given(st.text(alphabet="0123456789.,'eE+-\u2212*/^·\u00d7 \u202f°²⁻mkNPatrhdaµ()_", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_such_text_is_a_finite_number_or_a_refusal(text: str) -> None:
    try:
        number = to_number(text, "Force")
    except QuantityError:
        return
    assert math.isfinite(number)
