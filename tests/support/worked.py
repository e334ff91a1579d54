"""Tasks taken and ended as a worker does it, in statements of the platform, without running anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db import queue
from mecapy_platform.db.session import Database
from mecapy_platform.services.tasks.ending import Ending, end

USUAL = Usage(0.25, 0.2, 32.0)


@dataclass(frozen=True)
class Worked:
    """How a task is to end."""

    state: TaskState = TaskState.COMPLETED
    result: Mapping[str, Any] | None = field(default_factory=dict)
    code: str | None = None
    message: str | None = None
    usage: Usage = USUAL


def failed(message: str, code: str = "user_error") -> Worked:
    return Worked(TaskState.FAILED, None, code, message)


def take(database: Database, task_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Token by task, of those that could be taken."""
    wanted = {"node": "n", "worker": "w", "backend": "fake", "lease_seconds": 60.0}
    tokens = [uuid4() for _ in task_ids]
    with database.transaction() as session:
        taken = session.execute(queue.TAKE, {"task_ids": list(task_ids), "tokens": tokens, **wanted}).mappings()
        return {row["task_id"]: row["token"] for row in taken}


def end_taken(database: Database, tokens: Mapping[UUID, UUID], how: Mapping[UUID, Worked]) -> int:
    """End tasks that were taken. Returns how many ends counted."""
    endings = [
        Ending(
            worked.state,
            tokens[task_id],
            attempt_state=worked.state,
            result=worked.result,
            code=worked.code,
            message=worked.message,
            usage=worked.usage,
        )
        for task_id, worked in how.items()
    ]
    with database.transaction() as session:
        return end(session, endings)


def work(database: Database, how: Mapping[UUID, Worked]) -> int:
    """Take queued tasks and end them."""
    return end_taken(database, take(database, list(how)), how)
