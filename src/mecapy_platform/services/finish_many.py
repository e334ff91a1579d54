"""The short way of an end: completed attempts of the common shape, many in one statement. All others end in services/finish."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.stored_text import storable
from mecapy_platform.db.quick import FINISH_MOST
from mecapy_platform.db.wire import Wire
from mecapy_platform.services.finish import Outcome
from mecapy_platform.services.logs import Line

__all__ = ["FINISH_MOST", "Ended", "Finished", "finish_many", "is_common"]


@dataclass(frozen=True)
class Ended:
    """A completed attempt with the lines that are not stored yet."""

    token: UUID
    outcome: Outcome
    lines: Sequence[Line] = ()


@dataclass(frozen=True)
class Finished:
    """The tokens that were ended; the lanes in which something waits."""

    tokens: frozenset[UUID]
    lanes: tuple[Lane, ...]


def is_common(outcome: Outcome) -> bool:
    """Completed, with nothing but a result."""
    return outcome.failure is None and not outcome.files and not outcome.provenance


def finish_many(wire: Wire, ended: Sequence[Ended]) -> Finished:
    """End up to FINISH_MOST attempts, each guarded by its token as in services/finish. Raises psycopg.Error: none was ended."""
    text = json.dumps([_record(one) for one in ended], separators=(",", ":"))
    rows = wire.call("finish_many", text.encode())
    if not rows:
        return Finished(frozenset(), ())
    tokens, _, lanes = rows[0]
    found = frozenset(UUID(token) for token in (tokens or b"").decode().split(",") if token)
    return Finished(found, tuple(Lane(lane) for lane in (lanes or b"").decode().split(",") if lane))


def _record(one: Ended) -> dict[str, Any]:
    usage = one.outcome.usage
    lines = [{"index": line.index, "kind": line.kind, "text": storable(line.text, len(line.text))} for line in one.lines]
    return {
        "token": str(one.token),
        "result": one.outcome.result,
        "result_key": one.outcome.result_key,
        "wall_seconds": usage.wall_seconds,
        "cpu_seconds": usage.cpu_seconds,
        "peak_memory_mb": usage.peak_memory_mb,
        "lines": lines or None,
    }
