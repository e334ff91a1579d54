"""States of a task and of a version, the allowed transitions, and how an end is described. No I/O."""

from dataclasses import dataclass
from enum import StrEnum


class TaskState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.CANCELLED, TaskState.FAILED, TaskState.LOST}),
    TaskState.RUNNING: frozenset(
        {
            TaskState.QUEUED,  # this attempt failed and another one is allowed
            TaskState.COMPLETED,
            TaskState.FAILED,
            TaskState.TIMEOUT,
            TaskState.OUT_OF_MEMORY,
            TaskState.CANCELLED,
            TaskState.LOST,
        }
    ),
    TaskState.COMPLETED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.TIMEOUT: frozenset(),
    TaskState.OUT_OF_MEMORY: frozenset(),
    TaskState.CANCELLED: frozenset(),
    TaskState.LOST: frozenset(),
}

INITIAL_STATES = frozenset({TaskState.QUEUED})
FINAL_STATES = frozenset(state for state in TaskState if state.is_final)

PUBLISHED_STATUS: dict[TaskState, str] = {
    TaskState.QUEUED: "pending",
    TaskState.RUNNING: "running",
    TaskState.COMPLETED: "completed",
    TaskState.FAILED: "failed",
    TaskState.TIMEOUT: "timeout",
    TaskState.OUT_OF_MEMORY: "failed",
    TaskState.CANCELLED: "failed",
    TaskState.LOST: "failed",
}


class FailureKind(StrEnum):
    """Why an attempt did not complete; retries are decided by it."""

    USER_ERROR = "user_error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    LOST_MACHINE = "lost_machine"
    CANCELLED = "cancelled"


class VersionStatus(StrEnum):
    BUILDING = "building"
    READY = "ready"
    ERROR = "error"


@dataclass(frozen=True)
class Usage:
    """What an attempt used: wall and CPU time in seconds, peak memory in MiB (None where it could not be measured)."""

    wall_seconds: float
    cpu_seconds: float | None
    peak_memory_mb: float | None
