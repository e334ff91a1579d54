"""The values of a study's points as columns: from rows of JSON, with expressions calculated, missing ones known."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.expressions import Checked, ExpressionError, check, parse
from mecapy_platform.core.sampling.problems import is_number
from mecapy_platform.core.sampling.quantities import read_quantity
from mecapy_platform.core.types import TypeExpression, parse_type
from mecapy_platform.core.units import QuantityError, UnitSystem, read_unit
from mecapy_platform.core.units.quantities import MAX_TEXT
from mecapy_platform.numerics.distributions import Array, Mask

MAX_COLUMNS = 200
MAX_MESSAGES = 20
_PLAIN = re.compile(r"(?P<number>-?\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?) (?P<unit>\S+)", re.ASCII)  # as designs are written
ENDED = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True)
class Column:
    """What is read of each row: an input or output by its name, or an expression over them."""

    name: str
    of: str | None = None  # "inputs" or "outputs"
    expression: Checked | None = None


@dataclass
class Sample:
    """`values[name][index]`: NaN where a point has none. `missing`: how many points lack a value, by reason.

    `inputs`: as they were recorded, of the points that have ended.
    """

    points: int
    values: dict[str, Array] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    inputs: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def complete(self) -> Mask:
        """Whether each point has all values."""
        columns = list(self.values.values())
        if not columns:
            return np.zeros(self.points, dtype=np.bool_)
        return np.asarray(np.isfinite(np.stack(columns)).all(axis=0), dtype=np.bool_)


def read_columns(given: Iterable[Mapping[str, Any]], types: Mapping[str, Any], system: str) -> list[Column]:
    """Columns from {"name", "of"} or {"name", "expression"}. Raises InvalidInputError, ExpressionError."""
    found, kinds = [], {name: parse_type(kind) for name, kind in types.items()}
    for said in given:
        if "expression" in said:
            checked = checked_expression(str(said["expression"]), kinds, system)
            found.append(Column(str(said["name"]), expression=checked))
        else:
            found.append(Column(str(said["name"]), str(said["of"])))
    if not 0 < len(found) <= MAX_COLUMNS:
        raise InvalidInputError("columns_invalid", f"Name 1 to {MAX_COLUMNS} columns.")
    return found


def checked_expression(text: str, kinds: Mapping[str, TypeExpression], system: str) -> Checked:
    return check(parse(text), kinds, system=UnitSystem(system))


def read_sample(lines: Iterable[bytes], columns: list[Column], points: int) -> Sample:
    """The columns of rows {"index", "state", "inputs", "outputs"}, each a line; rows may lack and be in any order."""
    sample = Sample(points, {column.name: np.full(points, np.nan) for column in columns})
    seen = 0
    for line in lines:
        if not line.strip():
            continue
        row = json.loads(line)
        index = row["index"]
        if not 0 <= index < points:
            continue
        seen += 1
        state = row.get("state", "completed")
        if state in ENDED:
            sample.inputs[index] = row.get("inputs") or {}
        if state != "completed":
            sample.missing[str(state)] += 1
            continue
        why = _read_row(row, columns, sample, index)
        if why is not None:
            sample.missing[why] += 1
    if seen < points:
        sample.missing["not started"] += points - seen
    return sample


def _read_row(row: Mapping[str, Any], columns: list[Column], sample: Sample, index: int) -> str | None:
    inputs, outputs = row.get("inputs") or {}, row.get("outputs") or {}
    computes = any(column.expression is not None for column in columns)
    scope = {name: in_si(value) for name, value in {**inputs, **outputs}.items()} if computes else {}
    why = None
    for column in columns:
        if column.expression is not None:
            try:
                value: Any = column.expression.evaluate(scope)
            except ExpressionError as error:
                value, why = None, f"{column.name}: {error.code}"
        else:
            value = in_si((inputs if column.of == "inputs" else outputs).get(column.name))
        number = float(value) if isinstance(value, bool) or is_number(value) else math.nan
        if not math.isfinite(number) and why is None:
            why = f"{column.name} is no number"
        sample.values[column.name][index] = number
    return why


def computed_of(row: Mapping[str, Any], columns: Iterable[Column]) -> dict[str, Any]:
    """The expressions of a point that has outputs; None where one cannot be computed."""
    if not row.get("outputs"):
        return {}
    scope = {name: in_si(value) for name, value in {**(row.get("inputs") or {}), **row["outputs"]}.items()}
    found: dict[str, Any] = {}
    for column in columns:
        try:
            found[column.name] = column.expression.evaluate(scope) if column.expression else None
        except ExpressionError:
            found[column.name] = None
    return found


def in_si(value: Any) -> Any:
    """A text with a unit as the number in SI; anything else as it is."""
    if not isinstance(value, str):
        return value
    plain = _PLAIN.fullmatch(value) if len(value) <= MAX_TEXT else None
    if plain is not None and (known := _unit(plain["unit"])) is not None:
        return float(plain["number"]) * known[0] + known[1]
    try:
        quantity = read_quantity(value)
    except QuantityError:
        return value
    if quantity.unit is None:
        return value
    unit = read_unit(quantity.unit)
    return float(quantity.number * unit.factor + unit.offset)


@lru_cache(maxsize=256)
def _unit(text: str) -> tuple[float, float] | None:
    """Factor and offset to SI."""
    try:
        unit = read_unit(text)
    except QuantityError:
        return None
    return float(unit.factor), float(unit.offset)


def judge_complete(sample: Sample, *, leave_out: bool) -> Mask:
    """Which points are used.

    Raises
    ------
    InvalidInputError
        "sample_incomplete" where points lack a value and nobody said to leave them out; "sample_empty" where none has.
    """
    complete = sample.complete()
    used = int(complete.sum())
    if used < sample.points and not leave_out:
        reasons = ", ".join(f"{number:,} {why}" for why, number in sample.missing.most_common(MAX_MESSAGES))
        said = (
            f"{sample.points - used:,} of {sample.points:,} points have no value ({reasons}). Run what is missing, or "
            "say that they shall be left out; statistics of what is left may then be biased."
        )
        raise InvalidInputError("sample_incomplete", said)
    if used == 0:
        raise InvalidInputError("sample_empty", "No point of this study has a value yet.")
    return complete
