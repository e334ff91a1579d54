"""What may be told of the platform's life, one frozen record each; its fields are the event's data. No I/O.

The contract for readers: names stay, fields are only added. SQL functions that write events write these shapes, and a
test reads every event back through `read`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from mecapy_platform.core.states import TaskState, VersionStatus


@dataclass(frozen=True)
class TaskQueued:
    """A task was accepted."""

    lane: str


@dataclass(frozen=True)
class TaskStarted:
    """A worker took a task; `attempt` counts from 1."""

    attempt: int
    node: str


@dataclass(frozen=True)
class TaskRetried:
    """An attempt ended and another one follows after `delay_seconds`."""

    code: str | None
    delay_seconds: float


@dataclass(frozen=True)
class TaskFinished:
    """The end of a task, once. `attempt` is 0 and nothing was used where it never started."""

    state: TaskState
    code: str | None
    attempt: int
    wall_seconds: float | None
    cpu_seconds: float | None
    peak_memory_mb: float | None


@dataclass(frozen=True)
class VersionDeployed:
    """A version of a package was accepted and waits to be built."""

    version: UUID


@dataclass(frozen=True)
class VersionBuilt:
    """A build ended."""

    version: UUID
    status: VersionStatus


EventRecord = TaskQueued | TaskStarted | TaskRetried | TaskFinished | VersionDeployed | VersionBuilt
KINDS: Mapping[str, type[EventRecord]] = {
    made.__name__: made for made in (TaskQueued, TaskStarted, TaskRetried, TaskFinished, VersionDeployed, VersionBuilt)
}


def kind_of(event: EventRecord) -> str:
    return type(event).__name__


def data_of(event: EventRecord) -> dict[str, Any]:
    """The event's fields as JSON."""
    return {name: str(value) if isinstance(value, UUID) else value for name, value in asdict(event).items()}


def read(kind: str, data: Mapping[str, Any]) -> EventRecord:
    """The record that `data` was made from. Raises KeyError or TypeError for what no record of ours is."""
    values = dict(data)
    if "version" in values:
        values["version"] = UUID(values["version"])
    return KINDS[kind](**values)
