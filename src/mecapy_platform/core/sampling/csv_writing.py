"""Writes rows as CSV that a spreadsheet shows and never executes."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_ROWS_A_PIECE = 500


def csv_pieces(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Pieces of the text: comma, point, CRLF (RFC 4180). Numbers as they are, others as JSON, formulas defused."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([harmless(name) for name in names])
    for number, row in enumerate(rows):
        writer.writerow([_cell(value) for value in row])
        if number % _ROWS_A_PIECE == _ROWS_A_PIECE - 1:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def harmless(text: str) -> str:
    """A text that a spreadsheet would calculate gets an apostrophe before it."""
    return f"'{text}" if text.lstrip(" \u00a0").startswith(_FORMULA) else text


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    return harmless(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
