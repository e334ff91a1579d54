"""From what a handler returns to the text of out/data.json, or an error that names the port.

`CONVERSIONS` is the one table of what each kind of value becomes; a class is looked up by its own name, then by those
of its bases, so that nothing is imported to compare with. A `Path` given for a port is an output file: it is put to
out/files/<port><suffix> and left out of the document. What is not in the table is refused, with what to do instead.
"""

from __future__ import annotations

import math
import os
import sys

from _mecapy_guest import quickjson

TYPE_CHECKING = False  # `typing` itself is not imported: it costs milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Convert = Callable[[Any, str, int], object]

MAX_DEPTH = 64


class ResultError(ValueError):
    """The handler's result has no JSON form; the message names the port."""

    def __init__(self, message: str, code: str = "result_not_json") -> None:
        super().__init__(message)
        self.code = code


def to_json(answer: object, files: str) -> str:
    """Give the document.

    A dict, a dataclass or a model is the outputs; anything else is the port `result`.
    """
    if _has_fields(type(answer)):
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
    kind = type(value)
    convert = _found.get(kind)
    if convert is None:
        convert = _found[kind] = _conversion(kind)
    return convert(value, where, depth)


def _conversion(kind: type) -> Convert:
    if hasattr(kind, "__members__"):
        return _member
    if hasattr(kind, "_fields") and issubclass(kind, tuple):
        return _named_tuple
    for base in kind.__mro__:
        convert = CONVERSIONS.get(f"{base.__module__}.{base.__qualname__}".replace("._local.", "."))
        if convert is not None:
            return convert
    return _object if _has_fields(kind) else _refuse


def _same(value: object, _where: str, _depth: int) -> object:
    return value


def _real(value: Any, where: str, _depth: int) -> float:
    """Of a float, a Decimal, a Fraction."""
    try:
        number = float(value)
    except (OverflowError, ValueError):
        number = math.inf
    if not math.isfinite(number):
        shown = str(value) if len(str(value)) < 40 else str(number)
        message = (
            f"Output {where}: {shown.lower()} is not a number JSON can hold. Check the calculation, or leave the value "
            "out."
        )
        raise ResultError(message, "result_not_finite")
    return number


def _integer(value: int, _where: str, _depth: int) -> int:
    return int(value)


def _text(value: str, where: str, _depth: int) -> str:
    text = str.__str__(value)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ResultError(f"Output {where}: the text holds a NUL or half of a surrogate pair, which cannot be stored.")
    return text


def _member(value: Any, where: str, depth: int) -> object:
    """Of an enumeration: its value, or its name where the value is no text, number or truth value."""
    kept = value.value if isinstance(value.value, (str, int, float)) else value.name
    return _plain(kept, where, depth + 1)


def _mapping(value: Any, where: str, depth: int) -> dict[str, object]:
    document = {}
    for key, item in value.items():
        name = key.value if hasattr(type(key), "__members__") else key
        if not isinstance(name, str):
            raise ResultError(f"Output {where}: keys must be text, not {key!r}.")
        document[_text(name, where, depth)] = _plain(item, f"{where}.{name}", depth + 1)
    return document


def _sequence(value: Any, where: str, depth: int) -> object:
    return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]


def _named_tuple(value: Any, where: str, depth: int) -> object:
    return _mapping(dict(zip(value._fields, value, strict=True)), where, depth)


def _object(value: Any, where: str, depth: int) -> object:
    return _mapping(_fields(value), where, depth)


def _iso(value: Any, _where: str, _depth: int) -> str:
    return str(value.isoformat())


def _seconds(value: Any, _where: str, _depth: int) -> float:
    return float(value.total_seconds())


def _as_text(value: Any, where: str, depth: int) -> str:
    return _text(str(value), where, depth)


def _scalar(value: Any, where: str, depth: int) -> object:
    """Of NumPy: what Python's own type of its kind becomes. Of extended precision there is none: a float."""
    kind = value.dtype.kind
    if kind == "f":
        return _real(value, where, depth)
    return _refuse(value, where, depth) if kind == "c" else _plain(value.item(), where, depth)


def _array(value: Any, where: str, depth: int) -> object:
    if value.dtype.kind in "biu" and not hasattr(value, "mask"):
        return value.tolist()
    if not hasattr(value, "mask"):
        value = sys.modules["numpy"].asarray(value)  # of a matrix, whose rows are matrices again
    if value.ndim == 0:
        return _plain(value[()], where, depth)
    return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]


def _record(value: Any, where: str, depth: int) -> object:
    """Of a structured array: its fields by name."""
    if not value.dtype.names:
        return _refuse(value, where, depth)
    return _mapping({name: value[name] for name in value.dtype.names}, where, depth)


def _masked(_value: object, _where: str, _depth: int) -> None:
    return None


def _moment(value: Any, where: str, _depth: int) -> str:
    text = str(value)
    if text == "NaT":
        raise ResultError(f"Output {where}: NaT is no moment. Leave the value out.", "result_not_finite")
    return text


def _duration(value: Any, where: str, depth: int) -> float:
    return _real(value / type(value)(1, "s"), where, depth)


def _refuse(value: Any, where: str, _depth: int) -> object:
    name = type(value).__name__
    hint = next((_HINTS[base.__name__] for base in type(value).__mro__ if base.__name__ in _HINTS), "")
    raise ResultError(f"Output {where}: a value of type {name} has no JSON form. {hint}".strip())


# What becomes of a value of each class and of those derived from it.
CONVERSIONS: dict[str, Convert] = {
    "builtins.NoneType": _same,
    "builtins.bool": _same,
    "builtins.float": _real,
    "builtins.int": _integer,
    "builtins.str": _text,
    "builtins.dict": _mapping,
    "builtins.mappingproxy": _mapping,
    "collections.ChainMap": _mapping,
    "collections.UserDict": _mapping,
    "builtins.list": _sequence,
    "builtins.tuple": _sequence,
    "builtins.range": _sequence,
    "builtins.dict_keys": _sequence,
    "builtins.dict_values": _sequence,
    "collections.deque": _sequence,
    "collections.UserList": _sequence,
    "array.array": _sequence,
    "decimal.Decimal": _real,
    "fractions.Fraction": _real,
    "datetime.date": _iso,  # of a datetime too
    "datetime.time": _iso,
    "datetime.timedelta": _seconds,
    "uuid.UUID": _as_text,
    "ipaddress._BaseAddress": _as_text,
    "types.SimpleNamespace": lambda value, where, depth: _mapping(vars(value), where, depth),
    "numpy.ndarray": _array,
    "numpy.ma.core.MaskedConstant": _masked,
    "numpy.ma.MaskedConstant": _masked,
    "numpy.datetime64": _moment,
    "numpy.timedelta64": _duration,
    "numpy.void": _record,
    "numpy.bytes_": _refuse,
    "numpy.generic": _scalar,
    "builtins.complex": _refuse,
    "builtins.bytes": _refuse,
}
_HINTS = {
    "complex": "Return its real and imaginary part, or its absolute value.",
    "complexfloating": "Return its real and imaginary part, or its absolute value.",
    "set": "Return a sorted list.",
    "frozenset": "Return a sorted list.",
    "bytes": "Write a file to out/files instead.",
    "bytearray": "Write a file to out/files instead.",
    "memoryview": "Write a file to out/files instead.",
    "PurePath": "Give a file as an output of its own, or return str(value).",
    "generator": "Return list(value).",
    "map": "Return list(value).",
    "zip": "Return list(value).",
    "DataFrame": "Return value.to_dict('list').",
    "Series": "Return value.tolist().",
}
_found: dict[type, Convert] = {}  # of the classes met so far


def _has_fields(kind: type) -> bool:
    """A dataclass, a model of Pydantic, a class of attrs."""
    return any(hasattr(kind, name) for name in ("__dataclass_fields__", "__pydantic_fields__", "__attrs_attrs__"))


def _fields(value: Any) -> dict[str, object]:
    kind = type(value)
    if hasattr(kind, "__attrs_attrs__"):
        names = [attribute.name for attribute in kind.__attrs_attrs__]
    else:
        names = list(getattr(kind, "__dataclass_fields__", None) or kind.__pydantic_fields__)
    return {name: getattr(value, name) for name in names}


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
