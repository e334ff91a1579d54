"""Reads a handler's signature, inside the sandbox: what the platform makes ports from. The answer is plain JSON."""

import inspect
import typing
from typing import Any

from . import annotations  # noqa: TID252 - the guest has another name inside a sandbox

MAX_DEPTH = 8


def describe(handler: str) -> dict[str, Any]:
    """`{"parameters": [{name, annotation, has_default, kind}], "returns": annotation}`.

    `{"error": ..}` when it cannot be imported.
    """
    from _mecapy_guest import runner

    try:
        function = runner.find_handler(handler)
        signature = inspect.signature(function)
        hints = annotations.hints_of(function)
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


def annotation(kind: Any, depth: int = 0) -> dict[str, Any] | None:
    """Describe an annotation as a mapping; None where there is none.

    `{"name": ..}` and where there are any `arguments` [..], `fields` {..} with `optional` [..], `values` [..], the
    `texts` of Annotated, the names of a class's `bases`. A tuple of any length is a `Sequence`.
    """
    if kind is inspect.Parameter.empty:
        return None
    kind, texts = annotations.unwrapped(kind)
    described = _described(kind, depth)
    return {**described, "texts": texts} if texts else described


def _described(kind: Any, depth: int) -> dict[str, Any]:
    if isinstance(kind, (str, typing.ForwardRef)):
        return {"name": kind if isinstance(kind, str) else kind.__forward_arg__}
    if kind in (None, type(None)):
        return {"name": "None"}
    if hasattr(kind, "__supertype__"):
        return {"name": kind.__name__, "base": annotation(kind.__supertype__, depth + 1)}
    return _described_class(kind, depth)


def _described_class(kind: Any, depth: int) -> dict[str, Any]:
    if annotations.is_enumeration(kind):
        return {"name": "Literal", "values": _plain(annotations.values_of(kind)), "title": kind.__name__}
    fields = annotations.fields_of(kind) if depth < MAX_DEPTH else None
    if fields is not None:
        return _record(kind, fields, depth)
    origin = typing.get_origin(kind)
    if origin is not None:
        return _generic(origin, typing.get_args(kind), depth)
    bases = [base.__name__ for base in getattr(kind, "__mro__", ())[1:-1]]
    return {"name": getattr(kind, "__name__", str(kind)), **({"bases": bases} if bases else {})}


def _plain(values: Any) -> list[Any]:
    return [value for value in values if isinstance(value, (str, int, float, bool))]


def _json_of(value: Any) -> Any:
    """Of a value in a literal, which may be a member of an enumeration."""
    known = annotations.values_of(type(value)) if annotations.is_enumeration(type(value)) else {}
    return next((given for given, member in known.items() if member is value), value)


def _generic(origin: Any, arguments: tuple[Any, ...], depth: int) -> dict[str, Any]:
    name = getattr(origin, "__name__", None) or str(origin).removeprefix("typing.")
    if name == "Literal":
        described = {"name": "Literal", "values": _plain(_json_of(item) for item in arguments)}
        return {"name": "Union", "arguments": [described, {"name": "None"}]} if None in arguments else described
    if name in {"UnionType", "Union"}:
        name = "Union"
    if name == "tuple" and Ellipsis in arguments:
        name = "Sequence"
    return {
        "name": name,
        "arguments": [annotation(argument, depth + 1) for argument in arguments if argument is not Ellipsis],
    }


def _record(kind: Any, fields: dict[str, tuple[Any, bool]], depth: int) -> dict[str, Any]:
    described = {name: annotation(note, depth + 1) for name, (note, _is_optional) in fields.items()}
    optional = sorted(name for name, (_note, is_optional) in fields.items() if is_optional)
    return {
        "name": "TypedDict",
        "title": kind.__name__,
        "fields": described,
        "optional": optional,
        "required": sorted(set(fields) - set(optional) if typing.is_typeddict(kind) else fields),
    }
