"""Logs of a task: read once, or followed until the task has ended."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from mecapy_platform.client.records import build, moment
from mecapy_platform.client.transport import Transport
from mecapy_platform.core.errors import UnavailableError

WAIT_SECONDS = 15.0
LIMIT = 1000
BREAKS = 12


@dataclass(frozen=True)
class LogEntry:
    """One entry. `kind` is stdout, stderr, progress or platform."""

    index: int
    attempt: int
    kind: str
    text: str
    created_at: datetime | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data, created_at=moment(data.get("created_at")))


class Logs:
    """Calls about logs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read(
        self,
        task_id: str,
        *,
        follow: bool = False,
        after: int = 0,
        on_break: Callable[[UnavailableError], None] | None = None,
    ) -> Iterator[LogEntry]:
        """Entries in order; with `follow`, until the task has ended, surviving a platform that is away for a minute."""
        breaks = 0
        while True:
            try:
                answer = self._transport.get(
                    f"/tasks/{task_id}/logs", wait_seconds=WAIT_SECONDS if follow else 0.0, after=after, limit=LIMIT
                )
            except UnavailableError as error:
                breaks += 1
                if not follow or breaks > BREAKS:
                    raise
                if on_break:
                    on_break(error)
                continue
            breaks = 0
            entries = [LogEntry.from_json(item) for item in answer["entries"]]
            yield from entries
            has_moved = answer["next"] > after
            after = answer["next"]
            if answer["done"] and len(entries) < LIMIT:
                return
            if not follow and not has_moved:
                return
