"""Gives a handler what its annotations ask for: from plain JSON to a `Grade`, a `Beam`, an array, a date.

What an annotation does not name, or names in a way that says nothing here, stays as it came.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping
from typing import Any

from _mecapy_guest.annotations import fields_of, hints_of, is_enumeration, unwrapped, values_of

CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": None}
SETS = {"Set": set, "MutableSet": set}


class ArgumentError(ValueError):
    """A value does not fit what the handler's annotation asks for; the message names the input."""

    code = "input_not_converted"


def converted(function: Any, data: dict[str, Any]) -> dict[str, Any]:
    hints = hints_of(function)
    return {name: convert(hints[name], value, name) if name in hints else value for name, value in data.items()}


def convert(kind: Any, value: Any, where: str) -> Any:
    kind, _texts = unwrapped(kind)
    kind = getattr(kind, "__supertype__", kind)
    if value is None or isinstance(kind, str):
        return value
    if is_enumeration(kind):
        return _member(kind, value, where)
    fields = fields_of(kind)
    return _generic(kind, value, where) if fields is None else _record(kind, fields, value, where)


def _generic(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    base = origin or kind
    if origin is typing.Literal:
        made = _literal(arguments, value)
    elif getattr(origin, "__name__", "") == "UnionType" or origin is typing.Union:
        made = _union([argument for argument in arguments if argument is not type(None)], value, where)
    elif not isinstance(base, type):
        made = value
    elif isinstance(value, Mapping):
        made = _mapping(arguments, value, where)
    elif isinstance(value, list) and base.__name__ == "ndarray":
        made = _array(arguments, value, where)
    elif isinstance(value, list):
        made = _items(base, arguments, value, where)
    else:
        made = _scalar(base, value, where)
    return made


def _member(kind: Any, value: Any, where: str) -> Any:
    for known in (
        values_of(kind),
        {item.value: item for item in kind if _is_plain(item.value)},
        dict(kind.__members__),
    ):
        for given, member in known.items():
            if given == value and isinstance(given, bool) == isinstance(value, bool):
                return member
    try:
        return kind(value)  # flags together, or what the class itself makes of it
    except ValueError:
        allowed = ", ".join(str(item) for item in values_of(kind))
        raise ArgumentError(f"Input {where}: {value!r} is no {kind.__name__}; allowed are {allowed}.") from None


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _record(kind: Any, fields: dict[str, tuple[Any, bool]], value: Any, where: str) -> Any:
    if isinstance(value, list) and issubclass(kind, tuple):
        value = dict(zip(fields, value, strict=True)) if len(value) == len(fields) else value
    if not isinstance(value, dict):
        return value
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    given = {
        name: convert(fields[name][0], item, f"{where}.{name}") if name in fields else item
        for name, item in value.items()
    }
    return given if typing.is_typeddict(kind) else kind(**given)


def _literal(allowed: tuple[Any, ...], value: Any) -> Any:
    """A literal may name members of an enumeration."""
    for item in allowed:
        if is_enumeration(type(item)) and value in {item.value, item.name}:
            return item
    return value


def _union(kinds: list[Any], value: Any, where: str) -> Any:
    """The first that takes the value; a value that fits a plain kind stays as it is."""
    if len(kinds) == 1:
        return convert(kinds[0], value, where)
    if isinstance(value, (int, float)) and {int, float} & {kind for kind in kinds if isinstance(kind, type)}:
        return value
    for kind in kinds:
        try:
            found = convert(kind, value, where)
        except (ValueError, TypeError):
            continue
        if found is not value:
            return found
    return value


def _mapping(arguments: tuple[Any, ...], value: Mapping[str, Any], where: str) -> Any:
    if len(arguments) != 2:
        return value
    key, item = arguments
    keys = {"int": int, "float": float}
    to_key = keys.get(getattr(key, "__name__", ""))
    return {
        to_key(name) if to_key else convert(key, name, where): convert(item, entry, f"{where}.{name}")
        for name, entry in value.items()
    }


def _items(base: type, arguments: tuple[Any, ...], value: list[Any], where: str) -> Any:
    kinds = [argument for argument in arguments if argument is not Ellipsis]
    is_tuple = issubclass(base, tuple)
    if is_tuple and arguments and Ellipsis not in arguments:
        if len(value) != len(kinds):
            raise ArgumentError(f"Input {where}: {len(value)} values, but the handler takes {len(kinds)}.")
        items = [convert(kind, one, f"{where}[{at}]") for at, (kind, one) in enumerate(zip(kinds, value, strict=True))]
    elif len(kinds) == 1:
        items = [convert(kinds[0], item, f"{where}[{at}]") for at, item in enumerate(value)]
    else:
        items = value
    make = CONTAINERS.get(base.__name__, SETS.get(base.__name__, list))
    return base(items) if make is None else make(items)


def _array(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    """Of the annotation's numbers, else of floats: JSON does not tell 1 from 1.0."""
    numpy = sys.modules["numpy"]
    kinds = typing.get_args(arguments[1]) if len(arguments) == 2 else ()
    kind = kinds[0] if kinds and isinstance(kinds[0], type) and not _is_abstract(kinds[0]) else float
    try:
        return numpy.asarray(value, dtype=kind)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"Input {where}: no array of {kind.__name__}: {error}") from error


def _is_abstract(kind: type) -> bool:
    return kind.__name__ in {"generic", "number", "integer", "floating", "inexact", "Any"}


def _scalar(base: type, value: Any, where: str) -> Any:
    name = f"{base.__module__}.{base.__name__}"
    make = _SCALARS.get(name)
    if make is None and base.__module__ == "numpy" and base.__name__ != "ndarray" and not _is_abstract(base):
        make = lambda kind, one: kind(one)  # noqa: E731
    if name == "numpy.ndarray":
        return _array((), value, where) if isinstance(value, (int, float)) else value
    try:
        return value if make is None else make(base, value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ArgumentError(f"Input {where}: {value!r} is no {base.__name__}: {error}") from error


def _moment(kind: Any, value: Any) -> Any:
    return kind.fromisoformat(value[:-1] + "+00:00" if value.endswith(("Z", "z")) else value)


_SCALARS: dict[str, Any] = {
    "decimal.Decimal": lambda kind, value: kind(str(value)),
    "fractions.Fraction": lambda kind, value: kind(str(value)),
    "datetime.date": lambda kind, value: kind.fromisoformat(value),
    "datetime.datetime": _moment,
    "datetime.time": _moment,
    "datetime.timedelta": lambda kind, value: kind(seconds=value),
    "uuid.UUID": lambda kind, value: kind(value),
}
