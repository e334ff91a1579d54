"""Reads points from CSV as spreadsheets write them, and says what was read otherwise than by the book.

Accepted and said: a byte order mark, semicolons or tabs between cells, decimal commas, Windows' letters. Refused by
cell: what is missing. A header may carry a unit: "diameter [mm]".
"""

import csv
import io
import re
from dataclasses import dataclass
from typing import Any

from mecapy_platform.core.sampling.factors import NAME
from mecapy_platform.core.sampling.kinds import MAX_CSV_BYTES, MAX_FACTORS, MAX_POINTS
from mecapy_platform.core.sampling.problems import MAX_PROBLEMS, Problems
from mecapy_platform.core.units import QuantityError, read_unit

_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
_HEAD = re.compile(r"(?P<name>[^\[\]()]+?)\s*(?:\[(?P<unit>[^\[\]]+)\]|\((?P<unit2>[^()]+)\))?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_COMMA_NUMBER = re.compile(r"[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_MAX_CELL = 1_000


@dataclass(frozen=True)
class Column:
    name: str
    unit: str | None


def read_csv(text: str | bytes, problems: Problems) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """The rows as mappings from name to number or text, and what is to be said about the reading.

    A number below a head with a unit becomes a text with that unit ("12.5 mm"), which the port converts.
    """
    notes: list[str] = []
    before = problems.count
    plain = _decoded(text, notes, problems)
    if problems.count != before:
        return (), ()
    lines = plain.split("\n", 1)
    separator = _separator(lines[0])
    if separator != ",":
        notes.append(f"Cells are read as separated by {_SEPARATORS[separator]}.")
    try:
        table = _cells(plain, separator)
    except csv.Error as error:
        problems.add("text", "csv_unreadable", f"This is no CSV: {error}.")
        return (), ()
    if len(table) < 2:
        problems.add("text", "csv_unreadable", "A CSV needs a line of names and at least one line of values.")
        return (), ()
    if len(table) - 1 > MAX_POINTS:
        problems.add("text", "design_too_large", f"A study has at most {MAX_POINTS:,} points.")
        return (), ()
    columns = _columns(table[0][1], problems)
    if not columns:
        return (), ()
    with_commas = separator != "," and any(_COMMA_NUMBER.fullmatch(cell) for _, row in table[1:] for cell in row)
    if with_commas:
        notes.append("Commas in numbers are read as decimal marks.")
    rows = tuple(_row(number, cells, columns, problems, commas=with_commas) for number, cells in table[1:])
    return rows, tuple(notes)


def _decoded(text: str | bytes, notes: list[str], problems: Problems) -> str:
    if len(text) > MAX_CSV_BYTES:
        problems.add("text", "csv_too_large", f"A CSV may have at most {MAX_CSV_BYTES >> 20} MiB.")
        return ""
    plain = text if isinstance(text, str) else _letters(text, notes)
    if plain.startswith("\ufeff"):
        notes.append("A byte order mark at the beginning is left out.")
        plain = plain.removeprefix("\ufeff")
    if "\0" in plain:
        problems.add("text", "csv_unreadable", "A CSV holds no NUL; save the sheet as CSV, not as a workbook.")
        return ""
    return plain.replace("\r\n", "\n").replace("\r", "\n")


def _letters(text: bytes, notes: list[str]) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        notes.append("The letters are read as Windows-1252.")
        return text.decode("cp1252", "replace")


def _separator(head: str) -> str:
    """The one that stands most often between the names; semicolons and tabs go before commas."""
    outside = re.sub(r'"[^"]*"', "", head)
    found = max(_SEPARATORS, key=lambda mark: (outside.count(mark), mark != ","))
    return found if found in outside else ","


def _cells(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Lines with a number each; those without any text are left out."""
    csv.field_size_limit(MAX_CSV_BYTES)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    table: list[tuple[int, list[str]]] = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells):
            table.append((reader.line_num, cells))
        if len(table) > MAX_POINTS + 1:
            break
    return table


def _columns(heads: list[str], problems: Problems) -> list[Column]:
    columns: list[Column] = []
    while heads and not heads[-1]:  # a separator at the end of each line
        heads = heads[:-1]
    if len(heads) > MAX_FACTORS:
        problems.add("text", "out_of_range", f"A design has at most {MAX_FACTORS} factors.")
        return []
    for place, head in enumerate(heads):
        path = f"text.1.{place + 1}"
        match = _HEAD.fullmatch(head) if len(head) <= _MAX_CELL else None
        name = match["name"] if match else ""
        if not NAME.fullmatch(name):
            said = f"{head[:80]!r} is no name of an input, nor one with a unit such as 'diameter [mm]'."
            problems.add(path, "bad_text", said)
        elif name in {column.name for column in columns}:
            problems.add(path, "csv_name_twice", f"{name!r} stands above two columns.")
        columns.append(Column(name, _unit(match, path, problems)))
    return columns


def _unit(match: re.Match[str] | None, path: str, problems: Problems) -> str | None:
    unit = match and (match["unit"] or match["unit2"])
    if not unit or unit == "-":
        return None
    try:
        read_unit(unit)
    except QuantityError as error:
        problems.add(path, error.code, str(error))
    return unit


def _row(line: int, cells: list[str], columns: list[Column], problems: Problems, *, commas: bool) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if problems.count > MAX_PROBLEMS:
        return row
    for place in range(len(columns), len(cells)):
        if cells[place]:
            said = f"Line {line} has more cells than there are names: {cells[place][:80]!r}."
            problems.add(f"text.{line}.{place + 1}", "cell_unexpected", said)
    for place, column in enumerate(columns):
        cell = cells[place] if place < len(cells) else ""
        path = f"text.{line}.{place + 1}"
        if not cell:
            problems.add(
                path, "cell_missing", f"Line {line} has no value for {column.name!r}; a point needs all of them."
            )
        elif len(cell) > _MAX_CELL:
            problems.add(path, "out_of_range", f"A cell may have at most {_MAX_CELL:,} letters.")
        else:
            row[column.name] = _value(cell, column.unit, commas=commas)
    return row


def _value(cell: str, unit: str | None, *, commas: bool) -> Any:
    plain = cell.replace(",", ".") if commas and _COMMA_NUMBER.fullmatch(cell) else cell
    if not _NUMBER.fullmatch(plain):
        return cell
    if unit is not None:
        return f"{plain} {unit}"
    number = float(plain)
    return int(plain) if plain.lstrip("+-").isdigit() and abs(number) < 2**53 else number
