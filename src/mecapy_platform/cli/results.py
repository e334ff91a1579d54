"""A result as rows for people: one line a number or text, with the unit of its port's type."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mecapy_platform.client.catalog import Catalog
from mecapy_platform.client.packages import Function
from mecapy_platform.core.unit_systems import with_prefix

SHOWN_NUMBERS = 12
SHOWN_LETTERS = 200


def rows(
    result: Mapping[str, Any], function: Function | None, catalog: Catalog | None, *, plain_si: bool = False
) -> list[tuple[str, str, str]]:
    """(name, value, unit) for each output; structs field by field; what starts with `_` is the platform's own.

    Numbers from 1e5 on get an SI prefix where their unit takes one, unless `plain_si` is set.
    """
    types = {port.name: port.type for port in function.outputs} if function else {}
    if catalog and function:
        catalog = catalog.in_system(function.units)
    found: list[tuple[str, Any, str]] = []
    for name, value in result.items():
        if not name.startswith("_"):
            found += _rows(name, value, types.get(name, ""), catalog)
    return [(name, *_shown(value, unit, plain_si=plain_si)) for name, value, unit in found]


def _rows(name: str, value: Any, kind: str, catalog: Catalog | None) -> Iterator[tuple[str, Any, str]]:
    if isinstance(value, Mapping) and value:
        for key, member in value.items():
            yield from _rows(f"{name}.{key}", member, catalog.field_type(kind, str(key)) if catalog else "", catalog)
        return
    yield name, value, catalog.unit(kind) if catalog and kind and _holds_numbers(value) else ""


def _shown(value: Any, unit: str, *, plain_si: bool) -> tuple[str, str]:
    if plain_si or not unit:
        return _text(value), unit
    divisor, unit = with_prefix(_largest(value), unit)
    return _text(value if divisor == 1 else _divided(value, divisor)), unit


def _largest(value: Any) -> float:
    if isinstance(value, list):
        return max((_largest(item) for item in value), default=0.0)
    return abs(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _divided(value: Any, divisor: float) -> Any:
    if isinstance(value, list):
        return [_divided(item, divisor) for item in value]
    return value / divisor if isinstance(value, int | float) and not isinstance(value, bool) else value


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = ", ".join(_text(item) for item in value[:SHOWN_NUMBERS])
        more = f", .. {len(value)} in all" if len(value) > SHOWN_NUMBERS else ""
        return f"[{shown}{more}]"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}.. ({len(text)} characters)"


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds_numbers(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)
