"""How an order reaches a bounded process and how what is refused there comes back. Light: both sides import it."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mecapy_platform.bounded.template import Called
from mecapy_platform.core.errors import ConflictError, InvalidInputError, MecapyError, Problem

FAMILIES: tuple[type[MecapyError], ...] = (InvalidInputError, ConflictError)
DONE, REFUSED = b"+", b"-"


def written_order(order: Mapping[str, Any], rows: bytes = b"") -> bytes:
    return json.dumps(order, default=dict).encode() + b"\n" + rows


def answer(called: Called, work: Callable[[dict[str, Any], Iterator[bytes]], Iterable[bytes]]) -> None:
    """Runs `work(order, lines)` and sends the pieces of its answer, or what it refuses."""
    head, _, rows = called.argument.partition(b"\n")
    try:
        pieces = iter(work(json.loads(head), lines_of(rows)))
        first = next(pieces, b"")
    except FAMILIES as error:
        called.send(REFUSED + json.dumps(_said(error)).encode())
        return
    called.send(DONE + first)
    for piece in pieces:
        called.send(piece)


def read_answer(data: bytes) -> bytes:
    """Raises what was refused there."""
    if data[:1] == REFUSED:
        said = json.loads(data[1:])
        problems = [Problem(**problem) for problem in said["problems"]]
        family = next(family for family in FAMILIES if family.__name__ == said["family"])
        raise family(said["code"], said["message"], problems=problems)
    return data[1:]


def lines_of(rows: bytes) -> Iterator[bytes]:
    """Without a second copy of all."""
    start = 0
    while start < len(rows):
        end = rows.find(b"\n", start)
        end = len(rows) if end < 0 else end
        yield rows[start:end]
        start = end + 1


def _said(error: MecapyError) -> dict[str, Any]:
    family = next(family for family in FAMILIES if isinstance(error, family))
    problems = [problem.as_dict() for problem in error.problems]
    return {"family": family.__name__, "code": error.code, "message": error.message, "problems": problems}
