"""Reads a handler's signature, inside the sandbox: what the platform makes ports from. The answer is plain JSON."""

import inspect
import typing
from typing import Any

MAX_DEPTH = 8


def describe(handler: str) -> dict[str, Any]:
    """`{"parameters": [{name, annotation, has_default, kind}], "returns": annotation}`.

    `{"error": ..}` when it cannot be imported.
    """
    from _mecapy_guest import runner

    try:
        function = runner.find_handler(handler)
        signature = inspect.signature(function)
        hints = _hints(function)
    except BaseException as error:  # noqa: BLE001 - importing runs the user's code, which may raise or exit
        import traceback

        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()[-20_000:]}
    parameters = [
        {
            "name": name,
            "annotation": annotation(hints.get(name, parameter.annotation)),
            "has_default": parameter.default is not inspect.Parameter.empty,
            "kind": parameter.kind.name.lower(),
        }
        for name, parameter in signature.parameters.items()
    ]
    return {
        "parameters": parameters,
        "returns": annotation(hints.get("return", signature.return_annotation)),
        "doc": inspect.getdoc(function),
    }


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation that names nothing is left as text
        return {}


def annotation(kind: Any, depth: int = 0) -> dict[str, Any] | None:
    """Describe an annotation as `{"name": .., "arguments": [..], "fields": {..}}`; None where there is none."""
    if kind is inspect.Parameter.empty:
        return None
    if isinstance(kind, str):
        return {"name": kind}
    if depth < MAX_DEPTH and (typing.is_typeddict(kind) or hasattr(kind, "__dataclass_fields__")):
        return _record(kind, depth)
    origin = typing.get_origin(kind)
    if origin is None:
        return {"name": "None" if kind in (None, type(None)) else getattr(kind, "__name__", str(kind))}
    return _generic(origin, typing.get_args(kind), depth)


def _generic(origin: Any, arguments: tuple[Any, ...], depth: int) -> dict[str, Any] | None:
    name = getattr(origin, "__name__", None) or str(origin).removeprefix("typing.")
    if name == "Literal":
        return {
            "name": "Literal",
            "values": [value for value in arguments if isinstance(value, (str, int, float, bool))],
        }
    if name in {"Annotated", "Required", "NotRequired"}:
        return annotation(arguments[0], depth)
    if name in {"UnionType", "Union"}:
        name = "Union"
    return {
        "name": name,
        "arguments": [annotation(argument, depth + 1) for argument in arguments if argument is not Ellipsis],
    }


def _record(kind: Any, depth: int) -> dict[str, Any]:
    """A TypedDict or a dataclass: both have named fields."""
    fields = {name: annotation(field, depth + 1) for name, field in _hints(kind).items()}
    return {
        "name": "TypedDict",
        "title": kind.__name__,
        "fields": fields,
        "required": sorted(getattr(kind, "__required_keys__", fields)),
    }
