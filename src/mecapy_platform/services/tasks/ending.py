"""The end of a task, written in one place for whoever ends one in Python; db's mecapy_finish ends the common ones.

Python has decided by now; what is written here is the row, its event and the ring for those who wait.
"""

from sqlalchemy import func
from sqlalchemy.orm import Session

from mecapy_platform.core.events import TaskFinished
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db import queue
from mecapy_platform.db.tables import Task
from mecapy_platform.services.events import record


def end_task(session: Session, task: Task, state: TaskState, usage: Usage | None = None) -> None:
    """Bring a task to its final state. Its error, result and files are set before; its row is locked."""
    task.state = state
    task.claimable, task.hold_reason, task.not_before, task.attempt_token = False, None, None, None
    task.completed_at = func.clock_timestamp()
    used = (None, None, None) if usage is None else (usage.wall_seconds, usage.cpu_seconds, usage.peak_memory_mb)
    task.runtime_seconds, task.cpu_seconds, task.peak_memory_mb = used
    record(session, TaskFinished(state, task.error_code, task.attempts, *used), task.organization_id, task.id)
    session.flush()
    session.execute(queue.NOTIFY, {"key": f"task:{task.id}"})
