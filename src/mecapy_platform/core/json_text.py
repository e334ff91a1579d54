"""JSON from people and from tenants' code.

Duplicate keys, NaN, deep nesting and huge numbers are refused, never met by accident.
"""

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 64
MAX_DIGITS = 300
_MARKS = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL
)  # possessive, and an open quote ends too: linear time
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
    _check_depth(decoded, max_depth)
    try:
        return json.loads(
            decoded, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_number
        )
    except json.JSONDecodeError as error:
        raise JsonError("not_json", f"Line {error.lineno}, column {error.colno}: {error.msg}.") from error


def _check_depth(text: str, most: int) -> None:
    depth = 0
    for match in _MARKS.finditer(text):
        mark = match[0][0]
        if mark in "[{":
            depth += 1
            if depth > most:
                raise JsonError("too_deep", f"It is nested deeper than {most} levels.")
        elif mark in "]}":
            depth -= 1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError("duplicate_key", f"The key {twice[:80]!r} stands there twice.")
    return found


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
        one = waiting.pop()
        if isinstance(one, str) and _BAD_CHARACTER.search(one):
            return True
        if isinstance(one, dict):
            waiting.extend(one.keys())
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False
