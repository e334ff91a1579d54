"""What the annotations of a handler are made of: used to describe them at deploy, and to give it what they ask for.

Standard library only; NumPy, Pydantic and attrs are recognised by what their classes carry.
"""

from __future__ import annotations

import sys
import types
import typing
from typing import Any

KNOWN_MODULES = (
    "typing",
    "collections.abc",
    "pathlib",
    "decimal",
    "fractions",
    "datetime",
    "uuid",
    "enum",
    "collections",
)
WRAPPERS = {"Required", "NotRequired", "ReadOnly", "Final", "ClassVar"}


def hints_of(thing: Any) -> dict[str, Any]:
    """The annotations of a function or class, each read by itself: one that names nothing is left as text."""
    while hasattr(thing, "__wrapped__"):
        thing = thing.__wrapped__
    if isinstance(thing, type):
        found: dict[str, Any] = {}
        for base in reversed(thing.__mro__):
            names = {**vars(sys.modules.get(base.__module__, typing)), base.__name__: base}
            found |= {name: _read(name, note, names) for name, note in vars(base).get("__annotations__", {}).items()}
        return found
    if not hasattr(thing, "__annotations__"):
        thing = type(thing).__call__
    names = getattr(thing, "__globals__", {})
    return {name: _read(name, note, names) for name, note in getattr(thing, "__annotations__", {}).items()}


def _read(name: str, note: Any, names: dict[str, Any]) -> Any:
    holder = types.SimpleNamespace(__annotations__={name: note})
    try:
        return typing.get_type_hints(holder, names, _Known(names), include_extras=True)[name]
    except Exception:  # noqa: BLE001 - whatever evaluating it raises, the text is what is left
        return note


class _Known(dict):  # type: ignore[type-arg]
    """Names that a module imports for a type checker alone, looked up where they come from."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def __missing__(self, name: str) -> Any:
        if name not in self._names:
            for module in (*KNOWN_MODULES, "numpy", "numpy.typing"):
                if hasattr(sys.modules.get(module), name):
                    return getattr(sys.modules[module], name)
            if name in {"np", "npt"} and "numpy" in sys.modules:
                return __import__("numpy.typing").typing if name == "npt" else sys.modules["numpy"]
        raise KeyError(name)


def unwrapped(kind: Any) -> tuple[Any, list[str]]:
    """An annotation without what is only said beside it, and the texts of `Annotated`."""
    texts: list[str] = []
    while True:
        origin = typing.get_origin(kind)
        if origin is not None and hasattr(kind, "__metadata__"):
            texts += [item for item in kind.__metadata__ if isinstance(item, str)]
            kind = kind.__origin__
        elif getattr(origin, "_name", None) in WRAPPERS:
            kind = typing.get_args(kind)[0]
        elif type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif type(kind).__name__ == "InitVar":
            kind = kind.type
        elif isinstance(kind, typing.TypeVar) and kind.__bound__ is not None:
            kind = kind.__bound__
        else:
            return kind, texts


def is_enumeration(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__members__")


def values_of(kind: Any) -> dict[Any, Any]:
    """What stands for each member of an enumeration in JSON: {value: member}.

    Its value where that is text for all of them, or where the members are text or numbers themselves; else its name.
    """
    members = list(kind)
    if issubclass(kind, (str, int, float)) or all(isinstance(member.value, str) for member in members):
        return {member.value: member for member in members}
    return {member.name: member for member in members}


def fields_of(kind: Any) -> dict[str, tuple[Any, bool]] | None:
    """Of what has named fields (a TypedDict, a dataclass, a model, a tuple): {name: (annotation, is optional)}."""
    if not isinstance(kind, type):
        return None
    if typing.is_typeddict(kind):
        required: frozenset[str] = vars(kind)["__required_keys__"]
        return {
            name: (note, name not in required or _marks(note, "NotRequired")) for name, note in hints_of(kind).items()
        }
    if hasattr(kind, "__pydantic_fields__"):
        return {
            _alias(name, info): (_with_metadata(info), not info.is_required())
            for name, info in kind.__pydantic_fields__.items()
        }
    return _fields_of_class(kind)


def _fields_of_class(kind: Any) -> dict[str, tuple[Any, bool]] | None:
    if hasattr(kind, "__attrs_attrs__"):
        hints = hints_of(kind)
        return {
            getattr(attrs_attr, "alias", None) or attrs_attr.name.lstrip("_"): (
                hints.get(attrs_attr.name, attrs_attr.type or Any),
                not str(attrs_attr.default).endswith("NOTHING"),
            )
            for attrs_attr in kind.__attrs_attrs__
            if attrs_attr.init
        }
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import MISSING, fields

        hints = hints_of(kind)
        return {
            field.name: (
                hints.get(field.name, field.type),
                field.default is not MISSING or field.default_factory is not MISSING,
            )
            for field in fields(kind)
            if field.init
        }
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = hints_of(kind)
        return {name: (hints.get(name, Any), name in kind._field_defaults) for name in kind._fields}
    return None


def _marks(note: Any, mark: str) -> bool:
    return getattr(typing.get_origin(note), "_name", None) == mark


def _alias(name: str, info: Any) -> str:
    alias = info.validation_alias or info.alias
    return alias if isinstance(alias, str) else name


def _with_metadata(info: Any) -> Any:
    texts = tuple(item for item in info.metadata if isinstance(item, str))
    return typing.Annotated[(info.annotation, *texts)] if texts else info.annotation
