"""Types of ports: catalog, parser, connections."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.types import (
    CATALOG,
    DictType,
    FileType,
    ListType,
    LiteralType,
    NamedType,
    StructType,
    TypeExpression,
    check_connection,
    file_extensions,
    parse_type,
)

NAMED = st.sampled_from([NamedType(name) for name in CATALOG if name != "File"])
EXTENSIONS = st.lists(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), max_size=3, unique=True).map(
    lambda found: FileType(tuple(found))
)
LITERALS = st.lists(
    st.one_of(st.text(min_size=1, max_size=8), st.integers(-99, 99), st.booleans()),
    min_size=1,
    max_size=4,
    unique_by=str,
).map(lambda found: LiteralType(tuple(found)))
FIELD_NAMES = st.from_regex(r"[A-Za-z_][a-z0-9_]{0,6}", fullmatch=True)


def _wider(inner: st.SearchStrategy[TypeExpression]) -> st.SearchStrategy[TypeExpression]:
    fields = st.dictionaries(FIELD_NAMES, inner, min_size=1, max_size=3).map(
        lambda found: StructType(tuple(found.items()))
    )
    return st.one_of(inner.map(ListType), inner.map(DictType), fields)


TYPES = st.recursive(st.one_of(NAMED, EXTENSIONS, LITERALS), _wider, max_leaves=6)


@given(TYPES)
@settings(max_examples=40, deadline=None)
def test_normalised_text_parses_to_the_same_type(kind: TypeExpression) -> None:
    assert parse_type(str(kind)) == kind


@given(st.text(alphabet="listdcrFoe[]{},:\" 0159.'", max_size=60))
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_type_or_a_clear_refusal(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        assert parse_type(str(parse_type(text))) == parse_type(text)


@pytest.mark.parametrize(
    ("expression", "normal"),
    [
        ("Length", "Length"),
        (" list[ Force ] ", "list[Force]"),
        ("List[dict[str,Matrix]]", "list[dict[str, Matrix]]"),
        ("File", "File"),
        ("File[STEP, iges]", "File[step,iges]"),
        ("literal[8.8, 10.9]", "literal[8.8, 10.9]"),
        ('Literal["a b", c]', 'literal["a b", c]'),
        ("{F: Force3, M: Moment3}", "{F: Force3, M: Moment3}"),
        ({"F": "Force3", "M": "Moment3"}, "{F: Force3, M: Moment3}"),
        ({"case": {"loads": "list[Force]"}}, "{case: {loads: list[Force]}}"),
        ("Object", "Object"),
    ],
)
def test_every_form_of_the_contract_parses(expression: object, normal: str) -> None:
    assert str(parse_type(expression)) == normal


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "list",
        "list[]",
        "list[Force",
        "dict[Force]",
        "dict[int, Force]",
        "literal[]",
        "{}",
        "{F}",
        "{F: Force, F: Force}",
        "Force]",
        3,
        None,
        {},
        "[" * 1500,
        "list[" * 300,
        "{a:" * 400,
        "Length" * 400,
        "literal[1, 1]",
        "File[.step]",
        '"',
    ],
)
def test_a_broken_expression_is_refused(expression: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_type(expression)
    assert caught.value.code == "type_invalid"
    assert caught.value.problems


def test_every_unknown_name_is_reported_with_its_path() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_type({"a": "Lenght", "b": "list[{x: Forse}]"}, "functions.size.inputs.load.type")
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [
        ("functions.size.inputs.load.type.a", "unknown_type"),
        ("functions.size.inputs.load.type.b.element.x", "unknown_type"),
    ]
    assert "Did you mean Length?" in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("source", "target", "allowed", "reason"),
    [
        ("Force", "Force", True, "same type"),
        ("Force", "Float", True, "Force is a kind of Float"),
        ("Float", "Force", True, "Force is a kind of Float"),
        ("Integer", "Float", True, "both numbers under Numeric"),
        ("Force", "Numeric", True, "a kind of Numeric"),
        ("Force", "Length", False, "Force and Length are siblings under Float"),
        ("String", "Integer", False, "nothing in common"),
        ("Force3", "Vector3", True, "a kind of Vector3"),
        ("Force3", "Moment3", False, "siblings under Vector3"),
        ("list[Force]", "list[Float]", True, "Elements"),
        ("list[Force]", "list[Length]", False, "Elements"),
        ("dict[str, Force]", "dict[str, Length]", False, "Values"),
        ("list[Force]", "Force", False, "a list"),
        ("{a: Force}", "{a: Float}", True, "same fields"),
        ("{a: Force}", "{b: Force}", False, "a, b"),
        ("{a: Force}", "{a: Length}", False, "Field a"),
        ("Torsor", "{F: Force3, M: Moment3}", True, "same fields"),
        ("{force: Force3, moment: Moment3}", "Torsor", True, "same fields"),
        ("File[step,iges]", "File[IGES]", True, ".iges"),
        ("File[step]", "File[stl]", False, "share no extension"),
        ("File", "File[stl]", True, "any extension"),
        ("File", "String", False, "a file"),
        ("literal[8.8, 10.9]", "Float", True, "choice of Float"),
        ("literal[a]", "Float", False, "nothing in common"),
        ("literal[a, b]", "literal[b, c]", True, "share b"),
        ("Force", "Object", True, "any JSON"),
        ("File", "Object", False, "no JSON"),
    ],
)
def test_connections_follow_the_published_rules(source: str, target: str, allowed: bool, reason: str) -> None:
    verdict = check_connection(source, target)
    assert verdict.allowed is allowed
    assert reason in verdict.reason


def test_file_extensions_are_read_from_the_normal_text() -> None:
    assert file_extensions("File[step,iges]") == {"step", "iges"}
    assert file_extensions("File") == file_extensions("Force") == frozenset()


def test_the_catalog_holds_every_name_of_the_contract_in_plain_json() -> None:
    physical = (
        "Length Area Volume Mass Density Time Frequency Angle Force Moment Pressure Stress Temperature Energy "
        "Power Velocity Acceleration"
    )
    for name in f"Numeric Integer Float Boolean String Vector3 Force3 Moment3 Torsor Matrix {physical}".split():
        assert json.dumps(CATALOG[name].as_dict())
    assert {CATALOG[name].parent for name in physical.split()} == {"Float"}
