"""Ports read from a handler's signature, as the guest in the sandbox describes it."""

from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.manifest import ports_from_signature
from mecapy_platform.sandbox.guest import describe as guest


class Torque(TypedDict):
    torque: float
    safety: dict[str, float]


def described(
    annotation: Any, *, kind: str = "positional_or_keyword", has_default: bool = False, returns: Any = None
) -> dict[str, Any]:
    """What the guest says about one parameter `x` and a return annotation."""
    parameter = {
        "name": "x",
        "annotation": None if annotation is None else _annotation(annotation),
        "has_default": has_default,
        "kind": kind,
    }
    return {"parameters": [parameter], "returns": None if returns is None else _annotation(returns)}


def _annotation(kind: Any) -> Any:
    return guest.annotation(kind)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (float, "Float"),
        (int, "Integer"),
        (str, "String"),
        (bool, "Boolean"),
        (Path, "File"),
        (list[float], "list[Float]"),
        (dict[str, int], "dict[str, Integer]"),
        (Literal["a", "b c"], 'literal[a, "b c"]'),
        (float | None, "Float"),
        (int | float, "Numeric"),
        (list[dict[str, float]], "list[dict[str, Float]]"),
        (Torque, "{torque: Float, safety: dict[str, Float]}"),
        (Any, "Object"),
        (dict, "dict[str, Object]"),
        ("Length", "Length"),
        ("list[Force]", "list[Force]"),
        ("float | None", "Float"),
        ("Optional[pathlib.Path]", "File"),
        ("File[step]", "File[step]"),
        ("dict[str, float]", "dict[str, Float]"),
    ],
)
def test_an_annotation_becomes_a_type(annotation: Any, kind: str) -> None:
    assert ports_from_signature(described(annotation)).inputs == {
        "x": {"type": kind, "description": None, "required": True}
    }


def test_a_default_makes_an_input_optional_and_keywords_make_inputs_free() -> None:
    assert ports_from_signature(described(float, has_default=True)).inputs["x"]["required"] is False
    free = ports_from_signature(
        {
            "parameters": [{"name": "kw", "kind": "var_keyword", "annotation": None, "has_default": False}],
            "returns": None,
        }
    )
    assert (free.inputs, free.outputs, free.free_inputs) == ({}, {}, True)


def test_a_typed_dict_gives_one_output_per_field_and_a_bare_value_gives_result() -> None:
    assert {
        name: port["type"] for name, port in ports_from_signature(described(float, returns=Torque)).outputs.items()
    } == {
        "torque": "Float",
        "safety": "dict[str, Float]",
    }
    assert ports_from_signature(described(float, returns=list[float])).outputs["result"]["type"] == "list[Float]"


@pytest.mark.parametrize("returns", [None, dict, dict[str, Any], Any, type(None)])
def test_a_return_annotation_that_promises_nothing_gives_no_ports(returns: Any) -> None:
    assert ports_from_signature(described(float, returns=returns)).outputs == {}


@pytest.mark.parametrize(
    ("description", "path", "code"),
    [
        (described(None), "inputs.x", "no_annotation"),
        (described(float, kind="positional_only"), "inputs.x", "positional_only"),
        (described(complex), "inputs.x", "unknown_type"),
        (described("Lenght"), "inputs.x", "unknown_type"),
        (described("list[" * 100), "inputs.x", "type_invalid"),
        (described(list[Path]), "inputs.x", "nested_file"),
        (described(float, returns=list[Any]), "outputs.result", "object_output"),
    ],
)
def test_what_cannot_be_a_port_is_said_with_its_path(description: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ports_from_signature(description)
    assert (path, code) in [(problem.path, problem.code) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"parameters": None},
        {"parameters": [3]},
        {"parameters": [{}]},
        {"parameters": [{"name": "x", "annotation": 3}]},
        {"returns": {"fields": {"a b": None}}},
        {"returns": {"name": "list", "arguments": 3}},
        {"returns": {"name": "Literal", "values": []}},
        {"returns": {"name": "Union", "arguments": [3]}},
    ],
)
def test_a_description_made_by_hostile_code_never_breaks_the_reader(description: dict[str, Any]) -> None:
    try:
        found = ports_from_signature(description)
    except InvalidInputError as error:
        assert error.problems  # noqa: PT017 - either outcome is right
    else:
        assert set(found.inputs) <= {"x"}
