"""What bounded processes run of designs and statistics. They have imported NumPy and SciPy ahead."""

import json
from collections.abc import Iterator
from typing import Any

from mecapy_platform.bounded.template import Called
from mecapy_platform.core.sampling.counts import count_of
from mecapy_platform.core.sampling.design import add_points, document_of, parse_design
from mecapy_platform.numerics import wire
from mecapy_platform.numerics.analysis import analyse
from mecapy_platform.numerics.designs import lines_of


def draw_there(called: Called) -> None:
    """{"design", "start", "count"} to inputs of points, one JSON object a line."""
    wire.answer(called, _draw)


def parse_there(called: Called) -> None:
    """{"design", "new_seed"}, or {"design", "addition"}, to {"design", "points"}."""
    wire.answer(called, _parse)


def statistics_there(called: Called) -> None:
    """An order of numerics.analysis and rows to its answer."""
    wire.answer(called, lambda order, lines: [json.dumps(analyse(order, lines)).encode()])


def _draw(order: dict[str, Any], _lines: Iterator[bytes]) -> Iterator[bytes]:
    design = parse_design(order["design"], new_seed=0)
    yield from lines_of(design, order["start"], order["count"])


def _parse(order: dict[str, Any], _lines: Iterator[bytes]) -> Iterator[bytes]:
    design = parse_design(order["design"], new_seed=order["new_seed"])
    if "addition" in order:
        design = add_points(design, order["addition"])
    yield json.dumps({"design": document_of(design), "points": count_of(design)}).encode()
