"""Rows of a study as one Parquet file: a column for each input and output, numbers as numbers."""

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.sampling.problems import is_number
from mecapy_platform.numerics.sample import Column, computed_of, read_columns

MAX_COLUMNS = 1_000
_FIRST = ("index", "state")
_WHOLE = 2**63


def parquet(lines: Iterable[bytes], order: Mapping[str, Any] | None = None) -> bytes:
    """Columns `index`, `state`, then inputs and outputs in the order in which they first occur.

    An output that has the name of an input becomes `outputs.NAME`. A column whose values are all whole numbers,
    numbers or truth values is of that type; else it is text, other values as JSON. What a point lacks is null.
    `order`: columns with expressions, types and units as of numerics.analysis, which become columns too.
    """
    computed = _expressions(order or {})
    columns: dict[str, list[Any]] = {name: [] for name in _FIRST}
    count = 0
    for line in lines:
        if line.strip():
            row = json.loads(line)
            _add(columns, {**row, "outputs": {**(row.get("outputs") or {}), **computed_of(row, computed)}}, count)
            count += 1
    arrays = [_array([*values, *[None] * (count - len(values))]) for values in columns.values()]
    buffer = io.BytesIO()
    write_parquet(Table.from_arrays(arrays, names=list(columns)), buffer, compression="zstd(3)")
    return buffer.getvalue()


def _expressions(order: Mapping[str, Any]) -> list[Column]:
    given = [said for said in order.get("columns", ()) if "expression" in said]
    return read_columns(given, order.get("types", {}), order.get("units", "SI")) if given else []


def _add(columns: dict[str, list[Any]], row: Mapping[str, Any], place: int) -> None:
    inputs, outputs = row.get("inputs") or {}, row.get("outputs") or {}
    flat = {name: row.get(name) for name in _FIRST} | {_clear(name): value for name, value in inputs.items()}
    flat |= {f"outputs.{name}" if _clear(name) in flat else _clear(name): value for name, value in outputs.items()}
    for name, value in flat.items():
        column = columns.setdefault(name, [])
        column += [None] * (place - len(column))
        column.append(value)
    if len(columns) > MAX_COLUMNS:
        raise InvalidInputError("columns_invalid", f"A table has at most {MAX_COLUMNS:,} columns.")


def _clear(name: str) -> str:
    return f"inputs.{name}" if name in _FIRST else name


def _array(values: list[Any]) -> Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return Array(values, DataType.bool())
    if kinds <= {int} and all(value is None or -_WHOLE <= value < _WHOLE for value in values):
        return Array(values, DataType.int64())
    if kinds <= {int, float} and all(value is None or isinstance(value, float) or is_number(value) for value in values):
        return Array([None if value is None else float(value) for value in values], DataType.float64())
    return Array([_text(value) for value in values], DataType.utf8())


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
