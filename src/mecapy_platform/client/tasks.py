"""Tasks: submit, look, wait, cancel, retry."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from mecapy_platform.client.artifacts import Artifact
from mecapy_platform.client.errors import StillRunningError
from mecapy_platform.client.records import build, moment
from mecapy_platform.client.transport import Transport
from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.core.states import TaskState

WAIT_SECONDS = 20.0
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Fault:
    """Why something ended badly, or why it waits: a stable code and a sentence."""

    code: str
    message: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Self | None:
        return None if data is None else cls(str(data.get("code", "")), str(data.get("message", "")))


@dataclass(frozen=True)
class TaskUsage:
    """What a task or an attempt used; seconds and MiB, None where it was not measured."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Self | None:
        return None if data is None else build(cls, data)


@dataclass(frozen=True)
class PackageRef:
    """Which package and version a task runs."""

    name: str
    version: str
    id: str = ""
    owner: str | None = None

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}" if self.owner else self.name


@dataclass(frozen=True)
class Attempt:
    """One try of a task."""

    number: int
    state: str
    node: str | None = None
    backend: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: Fault | None = None
    usage: TaskUsage | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(
            cls,
            data,
            started_at=moment(data.get("started_at")),
            ended_at=moment(data.get("ended_at")),
            error=Fault.from_json(data.get("error")),
            usage=TaskUsage.from_json(data.get("usage")),
        )


@dataclass(frozen=True)
class Task:
    """One execution of a function, as the platform describes it. `raw` is the JSON it came from."""

    id: str
    state: TaskState
    package: PackageRef
    function: str
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)
    name: str | None = None
    lane: str | None = None
    priority: int | None = None
    version_id: str | None = None
    function_id: str | None = None
    inputs: Mapping[str, Any] | None = None
    files: Mapping[str, Any] | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    progress: Mapping[str, Any] | None = None
    error: Fault | None = None
    usage: TaskUsage | None = None
    result: Mapping[str, Any] | None = None
    limits: Mapping[str, Any] | None = None
    attempts: tuple[Attempt, ...] = ()
    waiting: Fault | None = None
    retry_of: str | None = None
    parked: bool = False
    provenance: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(
            cls,
            data,
            raw=data,
            state=TaskState(data["state"]),
            package=build(PackageRef, data["package"]),
            created_at=moment(data.get("created_at")),
            started_at=moment(data.get("started_at")),
            completed_at=moment(data.get("completed_at")),
            cancel_requested_at=moment(data.get("cancel_requested_at")),
            error=Fault.from_json(data.get("error")),
            usage=TaskUsage.from_json(data.get("usage")),
            attempts=tuple(Attempt.from_json(item) for item in data.get("attempts") or ()),
            waiting=Fault.from_json(data.get("waiting")),
        )


@dataclass(frozen=True)
class TaskResult:
    """The end of a task: its outputs, or why there are none."""

    id: str
    state: TaskState
    result: Mapping[str, Any] | None = None
    error: Fault | None = None
    usage: TaskUsage | None = None
    artifacts: tuple[Artifact, ...] = ()
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(
            cls,
            data,
            raw=data,
            state=TaskState(data["state"]),
            error=Fault.from_json(data.get("error")),
            usage=TaskUsage.from_json(data.get("usage")),
            artifacts=tuple(Artifact.from_json(item) for item in data.get("artifacts") or ()),
        )


@dataclass(frozen=True)
class Submission:
    """What to run. Values go to the platform as they are: "12 mm" is text, and the platform converts it."""

    package: str
    function: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # port -> upload id
    version: str | None = None
    priority: int | None = None
    timeout_seconds: float | None = None
    name: str | None = None

    def as_json(self) -> dict[str, Any]:
        body = {
            "package": self.package,
            "function": self.function,
            "inputs": dict(self.inputs),
            "files": dict(self.files),
        }
        optional = {
            "version": self.version,
            "priority": self.priority,
            "timeout_seconds": self.timeout_seconds,
            "name": self.name,
        }
        return body | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Verdict:
    """What became of one member of a bulk submission: a task, or an error as problem+json."""

    index: int
    task: Task | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class TaskPage:
    tasks: tuple[Task, ...]
    next_cursor: str | None


class Tasks:
    """Calls about tasks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(
        self, submission: Submission, *, wait_seconds: float | None = None, idempotency_key: str | None = None
    ) -> Task:
        """Submit; sent again after a broken connection it still makes one task, by its idempotency key."""
        answer = self._transport.post(
            "/tasks", submission.as_json(), idempotency_key=idempotency_key, wait=wait_seconds
        )
        return Task.from_json(answer)

    def submit_bulk(self, submissions: list[Submission]) -> tuple[Verdict, ...]:
        """Submit up to 1,000; each gets its own verdict, and its own idempotency key."""
        members = [{**item.as_json(), "idempotency_key": uuid.uuid4().hex} for item in submissions]
        answer = self._transport.post("/tasks/bulk", {"tasks": members})
        return tuple(
            Verdict(item["index"], Task.from_json(item["task"]) if item.get("task") else None, item.get("error"))
            for item in answer["results"]
        )

    def get(self, task_id: str, *, wait_seconds: float = 0.0) -> Task:
        return Task.from_json(self._transport.get(f"/tasks/{task_id}", wait_seconds=wait_seconds))

    def result(self, task_id: str, *, wait_seconds: float = 0.0) -> TaskResult:
        """Outputs and artifacts of an ended task; ConflictError `task_not_finished` before."""
        return TaskResult.from_json(self._transport.get(f"/tasks/{task_id}/result", wait_seconds=wait_seconds))

    def page(self, filters: Mapping[str, str | None], *, limit: int = 50, cursor: str | None = None) -> TaskPage:
        """One page, newest first. Filters: state, package, function, lane."""
        params: dict[str, Any] = {**filters, "cursor": cursor}
        answer = self._transport.get("/tasks", limit=limit, **params)
        return TaskPage(tuple(Task.from_json(item) for item in answer["tasks"]), answer.get("next_cursor"))

    def each(self, filters: Mapping[str, str | None], *, limit: int | None = None) -> Iterator[Task]:
        """All tasks, newest first, page by page, at most `limit`."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = self.page(filters, limit=min(left or 200, 200), cursor=cursor)
            yield from page.tasks
            cursor = page.next_cursor
            if cursor is None:
                return
            left = None if left is None else left - len(page.tasks)

    def cancel(self, task_id: str) -> Task:
        return Task.from_json(self._transport.post(f"/tasks/{task_id}/cancel"))

    def retry(self, task_id: str) -> Task:
        """A new task with the version and inputs of an ended one. Not repeated by itself: twice would be two tasks."""
        return Task.from_json(self._transport.post(f"/tasks/{task_id}/retry", repeatable=False))

    def wait(
        self,
        task_id: str,
        *,
        timeout_seconds: float | None = None,
        step_seconds: float = WAIT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        on_look: Callable[[Task], None] | None = None,
        on_break: Callable[[UnavailableError], None] | None = None,
    ) -> Task:
        """Wait for the end.

        A platform that is away is asked again for `patience_seconds`; StillRunningError when time is over.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        away_since: float | None = None
        while True:
            left = step_seconds if deadline is None else min(step_seconds, deadline - time.monotonic())
            try:
                task = self.get(task_id, wait_seconds=max(0.0, round(left, 2)))
            except UnavailableError as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > patience_seconds:
                    raise
                if on_break:
                    on_break(error)
            else:
                away_since = None
                if on_look:
                    on_look(task)
                if task.state.is_final:
                    return task
            if deadline is not None and time.monotonic() >= deadline:
                message = (
                    f"Task {task_id} has not ended after {timeout_seconds:g} s; it goes on. "
                    f"Look again: mecapy task show {task_id}"
                )
                raise StillRunningError("still_running", message)
