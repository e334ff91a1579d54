"""`Float[N/m]`: a number with a unit that no named type has."""

from typing import Any

import pytest

from mecapy_platform.api.published.views import _port
from mecapy_platform.client.catalog import Catalog
from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.types import check_connection, parse_type, without_units
from mecapy_platform.core.values import check_inputs, check_outputs


def read(kind: str, value: Any, units: str = "SI") -> Any:
    return check_inputs({"x": {"type": kind}}, {"x": value}, {}, units=units)["x"]


@pytest.mark.parametrize(
    "text",
    [
        "Float[N/m]",
        "Float[W/(m*K)]",
        "Float[MPa*m^0.5]",
        "list[Float[kg/s]]",
        "{k: Float[N/mm], n: Integer}",
        "Float[%]",
    ],
)
def test_its_text_parses_to_itself(text: str) -> None:
    assert str(parse_type(text)) == text


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("Float[bananas]", "bad_unit", "no unit known here"),
        ("Float[W/m.K]", "bad_unit", "two readings"),
        ("Float[degC]", "bad_unit", "Temperature"),
        ("Float[]", "type_invalid", "a unit such as N/m"),
        ("Float[N/m", "type_invalid", "]"),
        ("Float[" + "m*" * 40 + "m]", "bad_unit", "60 characters"),
    ],
)
def test_what_is_no_unit_is_refused(text: str, code: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_type(text)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert said in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [
        ("Float[N/m]", "5 kN/m", 5000),
        ("Float[N/mm]", "5 kN/m", 5),
        ("Float[N/mm]", 7, 7),
        ("Float[N/mm]", "7,5", 7.5),
        ("list[Float[W/(m*K)]]", ["50 W/(m.K)", 1], [50, 1]),
    ],
)
def test_texts_are_converted_to_its_unit_and_numbers_are_in_it(kind: str, value: Any, number: Any) -> None:
    assert read(kind, value) == number
    assert read(kind, value, units="mm-N-MPa") == number


@pytest.mark.parametrize(("value", "code"), [("5 kN", "unit_mismatch"), (True, "wrong_type"), ([], "wrong_type")])
def test_another_dimension_or_kind_is_refused(value: Any, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read("Float[N/m]", value)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_an_output_is_a_number_in_its_unit() -> None:
    ports = {"stiffness": {"type": "Float[N/m]"}}
    assert check_outputs(ports, b'{"stiffness": 1500.5}', 1000) == {"stiffness": 1500.5}
    with pytest.raises(InvalidInputError):
        check_outputs(ports, b'{"stiffness": "1 kN/m"}', 1000)


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("Float[N/m]", "Float", True),
        ("Float", "Float[N/m]", True),
        ("Integer", "Float[N/m]", True),
        ("Numeric", "Float[N/m]", True),
        ("Float[kN/m]", "Float[N/mm]", True),
        ("Float[N*m]", "Moment", True),
        ("Stress", "Float[N/mm2]", True),
        ("Float[N/m]", "Force", False),
        ("Float[N/m]", "Float[N]", False),
        ("Float[N/m]", "String", False),
        ("Float[N/m]", "list[Float]", False),
        ("list[Float[N/m]]", "list[Float[daN/m]]", True),
        ("{k: Float[N/m]}", "{k: Float}", True),
        ("literal[1, 2]", "Float[N/m]", True),
        ("Float[N/m]", "Object", True),
        ("Float[N/m]", "File", False),
    ],
)
def test_equal_dimensions_connect(source: str, target: str, allowed: bool) -> None:
    verdict = check_connection(source, target)
    assert verdict.allowed is allowed, verdict.reason
    assert verdict.reason


def test_published_paths_show_float_and_say_the_declared_type_beside_it() -> None:
    assert str(without_units(parse_type("dict[str, {k: list[Float[N/m]], f: Force}]"))) == (
        "dict[str, {k: list[Float], f: Force}]"
    )
    shown = _port({"type": "list[Float[N/m]]"})
    assert (shown.type, shown.declared_type) == ("list[Float]", "list[Float[N/m]]")
    assert _port({"type": "Force"}).declared_type is None


def test_the_client_shows_its_unit() -> None:
    catalog = Catalog({})
    assert [catalog.unit(kind) for kind in ("Float[N/m]", "list[Float[N/m]]", "Float")] == ["N/m", "N/m", ""]
