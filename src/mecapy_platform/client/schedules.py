"""Schedules: make, look, change, delete."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from mecapy_platform.client.records import build, moment
from mecapy_platform.client.tasks import Fault
from mecapy_platform.client.transport import Call, Transport
from mecapy_platform.core.errors import NotFoundError


@dataclass(frozen=True)
class Schedule:
    """A schedule, as the platform describes it. `raw` is the JSON it came from."""

    id: str
    name: str
    cron: str
    explained: str
    time_zone: str
    missed: str
    overlap: str
    is_paused: bool
    kind: str
    target: Mapping[str, Any]
    next_times: tuple[datetime, ...] = ()
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data, raw=data, next_times=tuple(datetime.fromisoformat(time) for time in data["next_times"]))


@dataclass(frozen=True)
class Firing:
    """A time that was served, and what came of it."""

    due_at: datetime
    outcome: str
    made_id: str | None = None
    error: Fault | None = None
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data, raw=data, due_at=moment(data["due_at"]), error=Fault.from_json(data.get("error")))


class Schedules:
    """Calls about schedules."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, cron: str, **options: Any) -> Schedule:
        """One of `task`, as `POST /tasks` takes it, `run` {workflow, inputs, ..} and `study`, an id.

        Options: time_zone, missed, overlap, is_paused.
        """
        body = {"name": name, "cron": cron, **options}
        return Schedule.from_json(self._transport.post("/schedules", body, repeatable=False))

    def all(self) -> list[Schedule]:
        return [Schedule.from_json(found) for found in self._transport.get("/schedules")["schedules"]]

    def find(self, name: str) -> Schedule:
        """By name or id."""
        found = next((schedule for schedule in self.all() if name in {schedule.name, schedule.id}), None)
        if found is None:
            raise NotFoundError("schedule_not_found", f"There is no schedule {name!r}; see: mecapy schedule list")
        return found

    def change(self, schedule_id: str, **changes: Any) -> Schedule:
        return Schedule.from_json(self._transport.json(Call("PATCH", f"/schedules/{schedule_id}", json=changes)))

    def delete(self, schedule_id: str) -> None:
        self._transport.delete(f"/schedules/{schedule_id}")

    def firings(self, schedule_id: str, *, limit: int = 50) -> list[Firing]:
        found = self._transport.get(f"/schedules/{schedule_id}/firings", limit=limit)
        return [Firing.from_json(row) for row in found["firings"]]
