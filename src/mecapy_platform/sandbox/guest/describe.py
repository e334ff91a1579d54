"""Reads a handler's signature, inside the sandbox: what the platform makes ports from. The answer is plain JSON."""

import inspect
import typing


def describe(handler):
    """`{"parameters": [{name, annotation, has_default, kind}], "returns": annotation}`, or `{"error": ..}` when it cannot be imported."""
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


def _hints(function):
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation that names nothing is left as text
        return {}


def annotation(kind, depth=0):
    """An annotation as `{"name": .., "arguments": [..], "fields": {..}}`; None where there is none."""
    if kind is inspect.Parameter.empty:
        return None
    if isinstance(kind, str):
        return {"name": kind}
    if kind is None or kind is type(None):
        return {"name": "None"}
    if typing.is_typeddict(kind) and depth < 8:
        return _typed_dict(kind, depth)
    if hasattr(kind, "__dataclass_fields__") and depth < 8:
        fields = {name: annotation(field, depth + 1) for name, field in _hints(kind).items()}
        return {"name": "TypedDict", "title": kind.__name__, "fields": fields, "required": sorted(fields)}
    origin = typing.get_origin(kind)
    if origin is None:
        return {"name": getattr(kind, "__name__", str(kind))}
    arguments = typing.get_args(kind)
    name = getattr(origin, "__name__", str(origin))
    if origin is typing.Literal:
        return {"name": "Literal", "values": [value for value in arguments if isinstance(value, (str, int, float, bool))]}
    if name in ("UnionType", "Union"):
        return {"name": "Union", "arguments": [annotation(argument, depth + 1) for argument in arguments]}
    if origin in (typing.Required, typing.NotRequired) if hasattr(typing, "Required") else False:
        return annotation(arguments[0], depth)
    if name == "Annotated":
        return annotation(arguments[0], depth)
    return {"name": name, "arguments": [annotation(argument, depth + 1) for argument in arguments if argument is not Ellipsis]}


def _typed_dict(kind, depth):
    fields = {name: annotation(field, depth + 1) for name, field in _hints(kind).items()}
    return {"name": "TypedDict", "title": kind.__name__, "fields": fields, "required": sorted(kind.__required_keys__)}
