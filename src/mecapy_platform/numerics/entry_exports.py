"""What bounded processes run of plots and files."""

from mecapy_platform.bounded.template import Called
from mecapy_platform.numerics import wire
from mecapy_platform.numerics.plots import plot
from mecapy_platform.numerics.tables import parquet


def plot_there(called: Called) -> None:
    """An order of numerics.plots and rows to a picture."""
    wire.answer(called, lambda order, lines: [plot(order, lines)])


def parquet_there(called: Called) -> None:
    """Rows to a Parquet file; of an order its expressions."""
    wire.answer(called, lambda order, lines: [parquet(lines, order)])
