"""Studies: make, watch, read points, control."""

import importlib.util
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from mecapy_platform.client.records import build, moment
from mecapy_platform.client.tasks import WAIT_SECONDS, Fault, TaskUsage
from mecapy_platform.client.transport import Call, Transport
from mecapy_platform.client.waiting import wait_for_end

ENDED = frozenset({"completed", "failed", "cancelled"})
PAGE = 1_000


@dataclass(frozen=True)
class Study:
    """A study, as the platform describes it: the numbers are those of its points. `raw` is the JSON it came from."""

    id: str
    name: str
    state: str
    points: int
    waiting: int
    running: int
    completed: int
    failed: int
    cancelled: int
    cpu_seconds: float
    change: int
    design: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    error: Fault | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    @property
    def ended_points(self) -> int:
        return self.completed + self.failed + self.cancelled

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        times = {name: moment(data.get(name)) for name in ("created_at", "started_at", "completed_at")}
        return build(cls, data, raw=data, error=Fault.from_json(data.get("error")), **times)


@dataclass(frozen=True)
class Point:
    """One point: its inputs, and what came of it."""

    index: int
    state: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    task_id: str | None = None
    error: Fault | None = None
    usage: TaskUsage | None = None
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        error, usage = Fault.from_json(data.get("error")), TaskUsage.from_json(data.get("usage"))
        return build(cls, data, raw=data, error=error, usage=usage, inputs=data.get("inputs") or {})


@dataclass(frozen=True)
class Estimate:
    """What a study would take; `is_learned`: from earlier runs, else from the time limit."""

    points: int
    seconds_each: float
    cpu_hours: float
    is_learned: bool
    waiting_before: int
    notes: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data, raw=data, notes=tuple(data.get("notes") or ()))


class Studies:
    """Calls about studies. A study is described as `POST /studies` takes it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, study: Mapping[str, Any], *, idempotency_key: str | None = None) -> Study:
        key = idempotency_key or uuid.uuid4().hex
        return Study.from_json(self._transport.post("/studies", dict(study), idempotency_key=key))

    def estimate(self, study: Mapping[str, Any]) -> Estimate:
        return Estimate.from_json(self._transport.post("/studies/estimate", dict(study)))

    def get(self, study_id: str, *, wait_seconds: float = 0.0, change: int = -1) -> Study:
        found = self._transport.get(f"/studies/{study_id}", wait_seconds=wait_seconds, change=change)
        return Study.from_json(found)

    def recent(self, limit: int = 20) -> list[Study]:
        """Newest first."""
        return [Study.from_json(found) for found in self._transport.get("/studies", limit=limit)["studies"]]

    def points(self, study_id: str, *, state: str | None = None) -> Iterator[Point]:
        """All of them in their order, read page by page."""
        after: int | None = -1
        while after is not None:
            page = self._transport.get(f"/studies/{study_id}/points", state=state, after=after, limit=PAGE)
            yield from map(Point.from_json, page["points"])
            after = page["next_after"]

    def failures(self, study_id: str) -> list[dict[str, Any]]:
        """Why points failed: code, message, points, first; most frequent first."""
        found: list[dict[str, Any]] = self._transport.get(f"/studies/{study_id}/failures")["failures"]
        return found

    def results(self, study_id: str) -> Any:
        """The completed points: a pandas DataFrame where pandas is installed, else a list of dicts."""
        rows = [
            {"index": point.index, **point.inputs, **(point.result or {})}
            for point in self.points(study_id, state="completed")
        ]
        if importlib.util.find_spec("pandas") is None:
            return rows
        frame = importlib.import_module("pandas").DataFrame(rows)
        return frame.set_index("index") if rows else frame

    def add_points(self, study_id: str, addition: Mapping[str, Any]) -> Study:
        """{"points": 500} of a sampled design, {"points": [{..}, ..]} of a list."""
        return self._act(study_id, "points", {"addition": dict(addition)})

    def statistics(
        self, study_id: str, wanted: Sequence[str] = ("moments", "quantiles"), **options: Any
    ) -> dict[str, Any]:
        """Options: columns, incomplete="leave_out", confidence, probabilities, bins, quadratic, objectives."""
        return self._transport.post(f"/studies/{study_id}/statistics", {"wanted": list(wanted), **options})

    def pause(self, study_id: str) -> Study:
        return self._act(study_id, "pause")

    def resume(self, study_id: str) -> Study:
        return self._act(study_id, "resume")

    def cancel(self, study_id: str) -> Study:
        return self._act(study_id, "cancel")

    def change(self, study_id: str, **options: Any) -> Study:
        """priority, parallel, max_cpu_hours, max_failures, derived, criteria."""
        return Study.from_json(self._transport.json(Call("PATCH", f"/studies/{study_id}", json=options)))

    def export(self, study_id: str, form: str, target: Path) -> int:
        """Write all points to a file: "csv", "json" or "parquet". Returns its size in bytes."""
        way = "parquet" if form == "parquet" else f"export?format={form}"
        return self._save(f"/studies/{study_id}/{way}", target)

    def plot(self, study_id: str, plot: str, form: str, target: Path, **options: Any) -> int:
        """Write a picture, "svg" or "png". Options: x, y, maximise, bins, leave_out. Returns its size in bytes."""
        given = {name: value for name, value in options.items() if value}
        query = urlencode({"plot": plot, "format": form, **given}, doseq=True)
        return self._save(f"/studies/{study_id}/plot?{query}", target)

    def _save(self, url: str, target: Path) -> int:
        written = 0
        with self._transport.stream(url, {}) as response, target.open("wb") as file:
            for chunk in self._transport.chunks(response, 1 << 16):
                written += file.write(chunk)
        return written

    def wait(
        self,
        study_id: str,
        *,
        timeout_seconds: float | None = None,
        step_seconds: float = WAIT_SECONDS,
        on_look: Callable[[Study], None] = lambda _: None,
    ) -> Study:
        """To the end of the study, over restarts of the platform. Raises StillRunningError when the time is over."""
        return wait_for_end(
            lambda seconds, change: self.get(study_id, wait_seconds=seconds, change=change),
            timeout_seconds=timeout_seconds,
            step_seconds=step_seconds,
            on_look=on_look,
            goes_on=f"Study {study_id} goes on; look again with: mecapy study watch {study_id}",
        )

    def _act(self, study_id: str, act: str, body: Any = None) -> Study:
        return Study.from_json(self._transport.post(f"/studies/{study_id}/{act}", body, repeatable=False))
