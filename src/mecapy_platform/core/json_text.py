"""JSON from people and from tenants' code, read in time that grows with its length and no faster.

Duplicate keys, NaN, deep nesting and huge numbers are refused, never met by accident.
"""

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 64
MAX_DIGITS = 300
# What may be too large a number: many digits (counted from the start of a run alone, so that the search is linear), or
# an exponent of three digits. Only a text with one of these has its numbers looked at one by one.
_LARGE_NUMBER = re.compile(r"(?<![0-9])[0-9]{200}|[eE]\+?[0-9]{3}")
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")


class JsonError(ValueError):
    """The text is no JSON that this platform takes.

    `code` is not_json, too_deep, duplicate_key, not_finite or out_of_range.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def loads(text: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse UTF-8 JSON. Raises JsonError; never RecursionError, and never a number that is not finite."""
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonError("not_json", f"Byte {error.start + 1} is not UTF-8.") from error
    numbers: dict[str, Any] = {}
    if _LARGE_NUMBER.search(decoded):
        numbers = {"parse_int": _integer, "parse_float": _number}
    try:
        value = json.loads(decoded, object_pairs_hook=_pairs, parse_constant=_constant, **numbers)
    except json.JSONDecodeError as error:
        raise JsonError("not_json", f"Line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except RecursionError:
        raise _too_deep(max_depth) from None
    if decoded.count("[") + decoded.count("{") > max_depth and _is_deeper(value, max_depth):
        raise _too_deep(max_depth)
    return value


def _is_deeper(value: Any, most: int) -> bool:
    """Whether lists and objects, empty ones too, lie in one another more than `most` times."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return bool(level)


def _too_deep(most: int) -> JsonError:
    return JsonError("too_deep", f"It is nested deeper than {most} levels.")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise JsonError("duplicate_key", f"The key {_first_repeated(pairs)[:80]!r} stands there twice.")
    return found


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no key is repeated")


def _constant(text: str) -> NoReturn:
    raise JsonError("not_finite", f"{text} is no JSON number.")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise JsonError("out_of_range", f"A number has more than {MAX_DIGITS} digits.")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError("not_finite", f"{text[:40]} is too large for a number.")
    return value


def depth_of(value: Any, *, most: int = MAX_DEPTH) -> int:
    """How deep a value is nested; stops counting one above `most`."""
    level, depth = [value], 0
    while level and depth <= most + 1:
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list, tuple))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return depth - 1


def bad_text(value: str) -> str | None:
    """Why a text cannot be stored, or None."""
    if _BAD_CHARACTER.search(value):
        return "it has a NUL or half of a surrogate pair, which cannot be stored"
    return None


def has_bad_text(value: Any) -> bool:
    """Whether a text anywhere in a parsed value, keys included, cannot be stored."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and _BAD_CHARACTER.search(item):
            return True
        if isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False
