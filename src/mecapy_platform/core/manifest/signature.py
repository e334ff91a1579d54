"""Turns the description of a handler's signature, made inside the sandbox (sandbox/guest/describe.py), into ports.

The description: {"parameters": [{name, kind, has_default, annotation}], "returns": annotation}. An annotation is None
or {"name", "arguments": [annotation], "fields": {name: annotation}, "required": [name], "values": [..]}; a name may be
text such as "list[Force]" where the handler wrote a string. It comes from tenants' code: nothing about it is trusted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.manifest.models import PortJson
from mecapy_platform.core.manifest.ports import is_port_name, port_type_problem
from mecapy_platform.core.types import LiteralType, parse_type

_NAMES = {"float": "Float", "int": "Integer", "str": "String", "bool": "Boolean", "Any": "Object", "object": "Object"}
_NAMES |= dict.fromkeys(("Path", "PosixPath", "PurePath", "WindowsPath"), "File")
_WORD = re.compile(r"(?<![\w\"'])(?:pathlib\.|typing\.|builtins\.)?([A-Za-z_]\w*)(?![\w\"'])")
_ANYTHING = {"dict", "Dict", "Mapping", "Any", "object", "None"}
MAX_DEPTH = 12


@dataclass(frozen=True)
class SignaturePorts:
    """Ports in the published JSON form.

    No outputs means the handler promises none: what it returns is taken as it is.
    """

    inputs: dict[str, PortJson] = field(default_factory=dict)
    outputs: dict[str, PortJson] = field(default_factory=dict)
    free_inputs: bool = False


def ports_from_signature(description: Mapping[str, Any]) -> SignaturePorts:
    """Read ports by the manifest's rules. Raises InvalidInputError("signature_invalid") with every problem."""
    problems: list[Problem] = []
    inputs: dict[str, PortJson] = {}
    free_inputs = False
    for parameter in _mappings(description.get("parameters")):
        name, kind = str(parameter.get("name")), str(parameter.get("kind")).lower()
        if kind == "var_keyword":
            free_inputs = True
        elif kind != "var_positional" and (port := _input(parameter, name, kind, problems)) is not None:
            inputs[name] = port
    outputs = _outputs(description.get("returns"), problems)
    if problems:
        raise InvalidInputError(
            "signature_invalid", "The handler's signature cannot be read as ports.", problems=problems
        )
    return SignaturePorts(inputs, outputs, free_inputs)


def _input(parameter: Mapping[str, Any], name: str, kind: str, problems: list[Problem]) -> PortJson | None:
    path, has_default = f"inputs.{name}", bool(parameter.get("has_default"))
    annotation = parameter.get("annotation")
    if kind == "positional_only":
        if not has_default:
            problems.append(
                Problem(
                    path,
                    "positional_only",
                    f"{name} is positional-only, but handlers are called by name; remove the `/`.",
                )
            )
        return None
    if annotation is None:
        if not has_default:
            message = f"{name} has no annotation; write {name}: float, or declare `inputs` in mecapy.yml."
            problems.append(Problem(path, "no_annotation", message))
        return None
    return _port(annotation, path, problems, required=not has_default, is_output=False)


def _outputs(annotation: Any, problems: list[Problem]) -> dict[str, PortJson]:
    bare = _without_none(annotation)
    if bare is None or (bare.get("name") in _ANYTHING and not _value_of_dict(bare)):
        return {}
    fields = bare.get("fields")
    if not isinstance(fields, Mapping):
        port = _port(bare, "outputs.result", problems, required=True, is_output=True)
        return {} if port is None else {"result": port}
    required = bare.get("required")
    ports = {}
    for name, kind in fields.items():
        always = not isinstance(required, list) or name in required
        if (port := _port(kind, f"outputs.{name}", problems, required=always, is_output=True)) is not None:
            ports[str(name)] = port
    return ports


def _value_of_dict(annotation: Mapping[str, Any]) -> bool:
    """Whether a dict says what its values are; dict[str, Any] and dict say nothing."""
    arguments = _mappings(annotation.get("arguments"))
    return len(arguments) == 2 and arguments[1].get("name") not in {"Any", "object"}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _port(annotation: Any, path: str, problems: list[Problem], *, required: bool, is_output: bool) -> PortJson | None:
    name = path.partition(".")[2]
    if not is_port_name(name):
        problems.append(Problem(path, "bad_name", f"{name[:80]!r} is no port name."))
        return None
    try:
        kind = parse_type(_expression(annotation, 0), path)
    except InvalidInputError as error:
        problems.extend(error.problems)
        return None
    if (found := port_type_problem(kind, is_output=is_output)) is not None:
        problems.append(Problem(path, *found))
        return None
    return {"type": str(kind), "description": None, "required": required}


def _without_none(annotation: Any) -> dict[str, Any] | None:
    """`X | None` is X."""
    while isinstance(annotation, Mapping) and annotation.get("name") == "Union":
        others = [one for one in _mappings(annotation.get("arguments")) if one.get("name") not in {"None", "NoneType"}]
        if len(others) != 1:
            break
        annotation = others[0]
    return dict(annotation) if isinstance(annotation, Mapping) else None


def _expression(annotation: Any, depth: int) -> object:
    """The type expression of an annotation; what has none is passed on by name, and the parser says so."""
    bare = _without_none(annotation)
    if bare is None or depth > MAX_DEPTH:
        return "Object" if bare is None else "?"
    name, arguments = str(bare.get("name")), _mappings(bare.get("arguments"))
    if isinstance(bare.get("fields"), Mapping):
        return {str(field): _expression(kind, depth + 1) for field, kind in bare["fields"].items()}
    return _composed(bare, name, arguments, depth)


def _composed(bare: Mapping[str, Any], name: str, arguments: list[Mapping[str, Any]], depth: int) -> str:
    if name == "Literal":
        values = bare.get("values")
        return str(
            LiteralType(
                tuple(one for one in values if isinstance(one, str | int | float)) if isinstance(values, list) else ()
            )
        )
    if name == "Union":
        numbers = {str(one.get("name")) for one in arguments}
        return "Numeric" if numbers == {"int", "float"} else " | ".join(sorted(numbers))
    if name.lower() in {"list", "sequence", "iterable"}:
        return f"list[{_inner(arguments, 0, depth)}]"
    if name.lower() in {"dict", "mapping"}:
        return f"dict[str, {_inner(arguments, 1, depth)}]"
    return _text(name)


def _inner(arguments: list[Mapping[str, Any]], index: int, depth: int) -> str:
    inner = _expression(arguments[index], depth + 1) if index < len(arguments) else "Object"
    if isinstance(inner, Mapping):
        return str(parse_type(inner))
    return str(inner)


def _text(text: str) -> str:
    """An annotation written as text, with Python's names replaced by the catalog's."""
    text = re.sub(r"^\s*Optional\[(.*)\]\s*$", r"\1", text[:2000], flags=re.DOTALL)
    text = re.sub(r"^\s*None\s*\||\|\s*None\s*$", "", text)
    return _WORD.sub(lambda found: _NAMES.get(found[1], found[1]), text)
