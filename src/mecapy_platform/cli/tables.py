"""Tables and the live line on a terminal, by rich: imported when something is shown."""

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from rich.text import Text

from mecapy_platform.cli.lazy import printable

STATE_STYLES = {
    "completed": "green",
    "running": "cyan",
    "queued": "yellow",
    "cancelled": "dim",
    "failed": "red",
    "timeout": "red",
    "out_of_memory": "red",
    "lost": "red",
}


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table; the last column wraps. Cells are text of others: shown, never interpreted."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(printable(cell), style=STATE_STYLES.get(cell, "")) for cell in row))
    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, width=width).print(table)


class TerminalLine:
    """One line on stderr that changes in place."""

    def __init__(self, text: str) -> None:
        self._status = Status(escape(text), console=Console(stderr=True), spinner="dots")

    def start(self) -> None:
        self._status.start()

    def stop(self) -> None:
        self._status.stop()

    def update(self, text: str) -> None:
        self._status.update(escape(text))


class TerminalTree:
    """Some lines on stderr that change in place."""

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._live.stop()

    def update(self, lines: Sequence[str]) -> None:
        self._live.update(Text("\n".join(map(printable, lines))))
