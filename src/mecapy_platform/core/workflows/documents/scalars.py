"""Writes values as YAML that core/manifest/document reads back to the same values."""

import json
import re
from collections.abc import Mapping
from typing import Any

from mecapy_platform.core.manifest.document import plain_value

WIDTH = 110
_PLAIN = re.compile(r"[^\W\d_](?:[\w ./@+()*^-]|:(?=\S))*\Z")
_QUANTITY = re.compile(r"\d[\w ./^*-]*\Z")


def text_of(value: str, *, in_flow: bool) -> str:
    """A text as it is where nothing could be taken for something else, else in double quotes."""
    looks_plain = _PLAIN.match(value) or _QUANTITY.match(value)
    if looks_plain and value == value.strip() and plain_value(value) == value and not (in_flow and ":" in value):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter == " " or letter.isprintable() else _escaped(letter) for letter in quoted)


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def flow(value: Any) -> str:
    """Any JSON on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{text_of(str(key), in_flow=True)}: {flow(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(flow(item) for item in value)}]"
    return scalar(value, in_flow=True)


def scalar(value: Any, *, in_flow: bool = False) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    return text_of(value, in_flow=in_flow) if isinstance(value, str) else repr(value)


def block(name: str, value: Any, indent: int) -> list[str]:
    """`name: value` as lines: on one where it fits, else item by item."""
    start = f"{' ' * indent}{text_of(name, in_flow=False)}:"
    if not isinstance(value, Mapping | list | tuple):
        return [f"{start} {scalar(value)}"]
    line = f"{start} {flow(value)}"
    if len(line) <= WIDTH or not value:
        return [line]
    if isinstance(value, Mapping):
        return [start, *(found for key, item in value.items() for found in block(str(key), item, indent + 2))]
    return [start, *(f"{' ' * (indent + 2)}- {flow(item)}" for item in value)]
