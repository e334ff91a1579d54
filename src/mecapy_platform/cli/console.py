"""What commands print: tables and sentences for people, JSON for machines."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import typer

from mecapy_platform.cli.lazy import JSON_MODE, printable, resolve


def say(text: str) -> None:
    """One line for people; on stderr when stdout belongs to a machine."""
    typer.echo(printable(text), err=JSON_MODE.get())


def hint(text: str) -> None:
    """One line beside the answer, always on stderr."""
    typer.echo(printable(text), err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table; the last column wraps. Cells are text of others: shown, never interpreted."""
    resolve("mecapy_platform.cli.tables:print_table")(heads, rows)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one a line; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        typer.echo(f"{name:<{width}}  {printable(value)}")


def ago(moment: datetime | None) -> str:
    """How long ago, coarsely."""
    if moment is None:
        return ""
    return f"{seconds_text((datetime.now(UTC) - moment).total_seconds())} ago"


def seconds_text(seconds: float | None) -> str:
    """A duration as a person says it."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def size_text(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _plain(value: Any) -> Any:
    """What JSON has no form for: records as objects, instants and paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in fields(value) if item.name != "raw"}
    return value.isoformat() if isinstance(value, datetime) else str(value)
