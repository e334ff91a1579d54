"""From what a handler returns to the text of out/data.json, or an error that names the port.

Converted: NumPy scalars and arrays (numbers, nested lists), tuples (lists), dataclasses and named tuples (their
fields), enumerations (their value).
A `Path` given for a port is an output file: it is put to out/files/<port><suffix> and left out of the document.
Refused: NaN and infinities, complex numbers, bytes, sets, keys that are not text, anything else without a JSON form,
nesting above 64.
"""

from __future__ import annotations

import math
import os

from _mecapy_guest import quickjson

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_DEPTH = 64


class ResultError(ValueError):
    """The handler's result has no JSON form; the message names the port."""

    def __init__(self, message: str, code: str = "result_not_json") -> None:
        super().__init__(message)
        self.code = code


def to_json(answer: object, files: str) -> str:
    """Give the document.

    A dict (also of a TypedDict or a dataclass) is the outputs; anything else is the port `result`.
    """
    if _is_dataclass(answer):
        answer = _fields(answer)
    ports = answer if isinstance(answer, dict) else {"result": answer}
    document = {}
    for port, value in ports.items():
        if not isinstance(port, str):
            raise ResultError(f"The name of an output must be text, not {port!r}.")
        if isinstance(value, os.PathLike):
            _keep_file(port, value, files)
        else:
            document[port] = _plain(value, port, 0)
    text: str = quickjson.dumps(document)
    return text


def _plain(value: Any, where: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise ResultError(
            f"Output {where[:200]}: nested deeper than {MAX_DEPTH}, or containing itself.", "result_too_deep"
        )
    if value is None or isinstance(value, bool):
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value, where, depth)
    if _is_dataclass(value):
        return _mapping(_fields(value), where, depth)
    if hasattr(type(value), "__members__"):
        return _plain(value.value, where, depth + 1)
    raise ResultError(
        f"Output {where}: a value of type {type(value).__name__} has no JSON form. "
        f"{_HINTS.get(type(value).__name__, '')}".strip()
    )


def _number(value: float, where: str, _depth: int) -> float:
    if not math.isfinite(value):
        message = (
            f"Output {where}: {float(value)} is not a number JSON can hold. Check the calculation, or leave "
            f"the value out."
        )
        raise ResultError(message, "result_not_finite")
    return float(value)


def _text(value: Any, where: str, _depth: int) -> str:
    text = str(value.value) if hasattr(type(value), "__members__") else str(value)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ResultError(f"Output {where}: the text holds a NUL or half of a surrogate pair, which cannot be stored.")
    return text


def _mapping(value: dict[Any, Any], where: str, depth: int) -> dict[str, object]:
    for key in value:
        if not isinstance(key, str):
            raise ResultError(f"Output {where}: keys must be text, not {key!r}.")
        _text(key, where, depth)
    return {str(key): _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}


def _sequence(value: Any, where: str, depth: int) -> object:
    if hasattr(value, "_fields"):
        return {
            name: _plain(item, f"{where}.{name}", depth + 1) for name, item in zip(value._fields, value, strict=True)
        }
    return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]


_CONVERSIONS: tuple[tuple[Any, Callable[[Any, str, int], object]], ...] = (
    (float, _number),
    (int, lambda value, _where, _depth: int(value)),
    (str, _text),
    (dict, _mapping),
    ((list, tuple), _sequence),
)
_HINTS = {
    "complex": "Return its real and imaginary part, or its absolute value.",
    "set": "Return a sorted list.",
    "frozenset": "Return a sorted list.",
    "bytes": "Write a file to out/files instead.",
    "PosixPath": "Give a file as an output of its own.",
    "datetime": "Return value.isoformat().",
    "Decimal": "Return float(value).",
}


def _is_dataclass(value: object) -> bool:
    return hasattr(type(value), "__dataclass_fields__")


def _fields(value: Any) -> dict[str, object]:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}


def _keep_file(port: str, path: os.PathLike[str], files: str) -> None:
    """Put the file to its port's place, unless it lies there already."""
    source = os.path.abspath(os.fspath(path))
    if os.path.dirname(source) == files and os.path.basename(source).partition(".")[0] == port:
        return
    if not os.path.isfile(source):
        raise ResultError(f"Output {port}: there is no file {path}.")
    import shutil

    suffix = os.path.splitext(source)[1]
    shutil.copyfile(source, f"{files}/{port}{suffix}")
