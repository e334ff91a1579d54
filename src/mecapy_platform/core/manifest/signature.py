"""Turns the description of a handler's signature, made inside the sandbox (sandbox/guest/describe.py), into ports.

The description: {"parameters": [{name, kind, has_default, annotation}], "returns": annotation}. An annotation is None
or {"name", "arguments": [annotation], "fields": {name: annotation}, "optional": [name], "values": [..], "texts": [of
Annotated], "base": annotation, "bases": [names of classes]}; a name may be text such as "list[Force]" where the handler
wrote a string. It comes from tenants' code: nothing about it is trusted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.manifest.models import PortJson
from mecapy_platform.core.manifest.ports import is_port_name, port_type_problem
from mecapy_platform.core.types import CATALOG, LiteralType, parse_type, read_type

_NAMES = {
    **dict.fromkeys(
        ("float", "Decimal", "Fraction", "float16", "float32", "float64", "floating", "longdouble"), "Float"
    ),
    **dict.fromkeys(("int", "integer", "signedinteger", "unsignedinteger", "Integral"), "Integer"),
    **dict.fromkeys((f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "Integer"),
    **dict.fromkeys(("number", "Number", "Real"), "Numeric"),
    **dict.fromkeys(("str", "str_", "UUID", "date", "datetime", "time"), "String"),
    **dict.fromkeys(("bool", "bool_"), "Boolean"),
    **dict.fromkeys(("Path", "PosixPath", "PurePath", "WindowsPath", "PathLike"), "File"),
    **dict.fromkeys(("Any", "object"), "Object"),
    "timedelta": "Time",
    "ndarray": "Array",
    "NDArray": "Array",
}
_LISTS = {"list", "sequence", "mutablesequence", "iterable", "collection", "set", "frozenset", "abstractset", "deque"}
_DICTS = {"dict", "mapping", "mutablemapping", "ordereddict", "defaultdict"}
_SAYS_WHAT = "write a type of the catalog, a class with fields, or declare the port in mecapy.yml"
_WORD = re.compile(r"(?<![\w\"'])(?:pathlib\.|typing\.|builtins\.)?([A-Za-z_]\w*)(?![\w\"'])")
_ANYTHING = {"dict", "Dict", "Mapping", "Any", "object", "None"}
MAX_DEPTH = 12
VECTOR = 3


@dataclass(frozen=True)
class SignaturePorts:
    """Ports in the published JSON form.

    No outputs means the handler promises none: what it returns is taken as it is.
    """

    inputs: dict[str, PortJson] = field(default_factory=dict)
    outputs: dict[str, PortJson] = field(default_factory=dict)
    free_inputs: bool = False


def ports_from_signature(
    description: Mapping[str, Any], *, wants_inputs: bool = True, wants_outputs: bool = True
) -> SignaturePorts:
    """Read ports by the manifest's rules. Raises InvalidInputError("signature_invalid") with every problem.

    A side that is not wanted, because the manifest declares it, is not read.
    """
    problems: list[Problem] = []
    inputs: dict[str, PortJson] = {}
    free_inputs = False
    for parameter in _mappings(description.get("parameters")) if wants_inputs else ():
        name, kind = str(parameter.get("name")), str(parameter.get("kind")).lower()
        if kind == "var_keyword":
            free_inputs = True
        elif kind != "var_positional" and (port := _input(parameter, name, kind, problems)) is not None:
            inputs[name] = port
    outputs = _outputs(description.get("returns"), problems) if wants_outputs else {}
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
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _port(annotation: Any, path: str, problems: list[Problem], *, required: bool, is_output: bool) -> PortJson | None:
    name = path.partition(".")[2]
    if not is_port_name(name):
        problems.append(Problem(path, "bad_name", f"{name[:80]!r} is no port name."))
        return None
    try:
        kind = parse_type(_expression(annotation, 0), path)
    except InvalidInputError as error:
        problems.extend(
            replace(problem, message=f"{name}: {problem.message} Or {_SAYS_WHAT}.")
            if problem.code == "unknown_type"
            else problem
            for problem in error.problems
        )
        return None
    if (found := port_type_problem(kind, is_output=is_output)) is not None:
        problems.append(Problem(path, *found))
        return None
    return {"type": str(kind), "description": None, "required": required}


def _without_none(annotation: Any) -> dict[str, Any] | None:
    """`X | None` is X."""
    while isinstance(annotation, Mapping) and annotation.get("name") == "Union":
        others = [
            mapping
            for mapping in _mappings(annotation.get("arguments"))
            if mapping.get("name") not in {"None", "NoneType"}
        ]
        if len(others) != 1:
            break
        annotation = others[0]
    return dict(annotation) if isinstance(annotation, Mapping) else None


def _expression(annotation: Any, depth: int) -> object:
    """The type expression of an annotation; what has none is passed on by name, and the parser says so."""
    bare = _without_none(annotation)
    if bare is None or depth > MAX_DEPTH:
        return "Object" if bare is None else "?"
    if (said := _said_beside(bare)) is not None:
        return said
    name, arguments = str(bare.get("name")), _mappings(bare.get("arguments"))
    fields = bare.get("fields")
    if isinstance(fields, Mapping):
        optional = bare.get("optional")
        left_out = set(map(str, optional)) if isinstance(optional, list) else set()
        left_out |= {str(field) for field, kind in fields.items() if _may_be_none(kind)}
        return {
            f"{field}?" if str(field) in left_out else str(field): _expression(kind, depth + 1)
            for field, kind in fields.items()
        }
    return _composed(bare, name, arguments, depth)


def _said_beside(bare: Mapping[str, Any]) -> str | None:
    """The type or unit that `Annotated` names: the first of its texts that is one."""
    texts = bare.get("texts")
    for text in texts if isinstance(texts, list) else ():
        for written in (str(text), f"Float[{text}]"):
            problems: list[Problem] = []
            if read_type(written, "type", problems) is not None and not problems:
                return written
    return None


def _may_be_none(annotation: Any) -> bool:
    arguments = _mappings(annotation.get("arguments")) if isinstance(annotation, Mapping) else []
    return any(argument.get("name") == "None" for argument in arguments) and annotation.get("name") == "Union"


def _composed(bare: Mapping[str, Any], name: str, arguments: list[Mapping[str, Any]], depth: int) -> str:
    if name == "Literal":
        return str(LiteralType(tuple(_values(bare))))
    if name == "Union":
        return _union(arguments, depth)
    lower = name.lower()
    if lower in {*_LISTS, "tuple"}:
        is_tuple = lower == "tuple" and arguments
        return _tuple(arguments, depth) if is_tuple else f"list[{_inner(arguments, 0, depth)}]"
    if lower in _DICTS:
        return f"dict[str, {_inner(arguments, 1, depth)}]"
    return _array(arguments) if name == "ndarray" else _named(bare, name, depth)


def _values(bare: Mapping[str, Any]) -> list[str | int | float]:
    values = bare.get("values")
    found: list[str | int | float] = []
    for item in values if isinstance(values, list) else ():
        if isinstance(item, str | int | float) and item not in found:
            found.append(item)
    return found


def _named(bare: Mapping[str, Any], name: str, depth: int) -> str:
    """A class that stands for a type by its own name, else by what it is made of."""
    text = _text(name)
    bases = bare.get("bases")
    if text in CATALOG or text.startswith("File"):
        return text
    if isinstance(bare.get("base"), Mapping):
        return _inner([bare["base"]], 0, depth)
    for base in bases if isinstance(bases, list) else ():
        if str(base) in _NAMES:
            return _NAMES[str(base)]
        if str(base) in {"list", "dict"}:
            return _composed({}, str(base), [], depth)
    return text


def _union(arguments: list[Mapping[str, Any]], depth: int) -> str:
    """Several kinds are one type where one of them takes the others too."""
    kinds = [argument for argument in arguments if argument.get("name") != "None"]
    if kinds and all(kind.get("name") == "Literal" for kind in kinds):
        return str(LiteralType(tuple(dict.fromkeys(value for kind in kinds for value in _values(kind)))))
    types = list(dict.fromkeys(_inner([kind], 0, depth) for kind in kinds))
    several = set(types)
    if several == {"Integer", "Float"}:
        return "Numeric"
    if several == {"String", "File"}:
        return "File"
    if "Array" in several and several <= {"Integer", "Float", "Numeric", "Array", "list[Float]"}:
        return "Array"
    return types[0] if len(types) == 1 else " | ".join(sorted(types))


def _tuple(arguments: list[Mapping[str, Any]], depth: int) -> str:
    kinds = list(dict.fromkeys(_inner([argument], 0, depth) for argument in arguments))
    if kinds == ["Float"] and len(arguments) == VECTOR:
        return "Vector3"
    return f"list[{kinds[0] if len(kinds) == 1 else 'Object'}]"


def _array(arguments: list[Mapping[str, Any]]) -> str:
    """By its shape, where the annotation has one: `np.ndarray[tuple[int, int], ..]` is a matrix."""
    shape = arguments[0] if len(arguments) == 2 else {}
    sides = _mappings(shape.get("arguments")) if shape.get("name") == "tuple" else []
    if any(side.get("name") == "Any" for side in sides):
        return "Array"
    return {1: "list[Float]", 2: "Matrix"}.get(len(sides), "Array")


def _inner(arguments: list[Mapping[str, Any]], index: int, depth: int) -> str:
    inner = _expression(arguments[index], depth + 1) if index < len(arguments) else "Object"
    if isinstance(inner, Mapping):
        return str(parse_type(inner))
    return str(inner)


def _text(text: str) -> str:
    """An annotation written as text, with Python's names replaced by the catalog's."""
    text = re.sub(r"^\s*Optional\[(.*)\]\s*$", r"\1", text[:2000], flags=re.DOTALL)
    text = re.sub(r"^\s*None\s*\||\|\s*None\s*$", "", text)
    text = re.sub(r"(?<![\w\"'])(?:typing\.|t\.)?(?:Sequence|Iterable|List)\[", "list[", text)
    return _WORD.sub(lambda found: _NAMES.get(found[1], found[1]), text)
