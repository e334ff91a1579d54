"""States of a run, a node of it, a study, and a call (what a node, an item of a map or a point of a study executes)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """`paused` starts nothing new; what runs goes on to its end, and so does the deadline."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def is_final(self) -> bool:
        return self in RUN_FINAL


class NodeState(StrEnum):
    """`waiting`: for a person, a moment, or the back-off before another try. `skipped`: a branch that was not taken."""

    PENDING = "pending"
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        return self in NODE_FINAL


class CallState(StrEnum):
    """A call waits until a task (or a run of its own) carries it; the carrier's end is its end."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in CALL_FINAL


RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.PENDING: frozenset(RunState) - {RunState.PENDING},
    RunState.RUNNING: frozenset(RunState) - {RunState.PENDING, RunState.RUNNING},
    RunState.PAUSED: frozenset(RunState) - {RunState.PENDING, RunState.PAUSED},
    RunState.COMPLETED: frozenset(),
    RunState.FAILED: frozenset({RunState.RUNNING}),  # retried from what failed
    RunState.CANCELLED: frozenset({RunState.RUNNING}),
    RunState.TIMEOUT: frozenset({RunState.RUNNING}),
}
RUN_FINAL = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.TIMEOUT})

NODE_FINAL = frozenset({NodeState.COMPLETED, NodeState.FAILED, NodeState.CANCELLED, NodeState.SKIPPED})
NODE_TRANSITIONS: dict[NodeState, frozenset[NodeState]] = {
    NodeState.PENDING: frozenset(NodeState) - {NodeState.PENDING},
    NodeState.WAITING: frozenset(NodeState) - {NodeState.PENDING, NodeState.WAITING},
    NodeState.RUNNING: frozenset({NodeState.WAITING}) | NODE_FINAL,
    NodeState.COMPLETED: frozenset(),
    NodeState.FAILED: frozenset({NodeState.PENDING}),  # retried by a person
    NodeState.CANCELLED: frozenset({NodeState.PENDING}),
    NodeState.SKIPPED: frozenset({NodeState.PENDING}),
}

CALL_FINAL = frozenset({CallState.COMPLETED, CallState.FAILED, CallState.CANCELLED})
CALL_TRANSITIONS: dict[CallState, frozenset[CallState]] = {
    CallState.WAITING: frozenset({CallState.RUNNING, CallState.CANCELLED}),
    CallState.RUNNING: frozenset({CallState.WAITING}) | CALL_FINAL,  # back when its carrier never reached it
    CallState.COMPLETED: frozenset(),
    CallState.FAILED: frozenset({CallState.WAITING}),
    CallState.CANCELLED: frozenset({CallState.WAITING}),
}


class StudyState(StrEnum):
    """Completed: every point has ended, failed ones too. Failed: the study itself cannot go on."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


STUDY_FINAL = frozenset({StudyState.COMPLETED, StudyState.FAILED, StudyState.CANCELLED})
STUDY_TRANSITIONS: dict[StudyState, frozenset[StudyState]] = {
    StudyState.PENDING: frozenset(StudyState) - {StudyState.PENDING},
    StudyState.RUNNING: frozenset(StudyState) - {StudyState.PENDING, StudyState.RUNNING},
    StudyState.PAUSED: frozenset(StudyState) - {StudyState.PENDING, StudyState.PAUSED},
    **dict.fromkeys(STUDY_FINAL, frozenset({StudyState.RUNNING})),  # resumed, or points were added
}

# What the table state_transitions says: by kind, where it begins and what follows what.
KINDS: dict[str, tuple[StrEnum, Mapping[Any, frozenset[Any]]]] = {
    "run": (RunState.PENDING, RUN_TRANSITIONS),
    "node": (NodeState.PENDING, NODE_TRANSITIONS),
    "call": (CallState.WAITING, CALL_TRANSITIONS),
    "study": (StudyState.PENDING, STUDY_TRANSITIONS),
}
