"""Stops tasks: a queued one at once, a running one through its worker, which looks for the mark every second."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import Task
from mecapy_platform.services.tasks.ending import Ending, end

MESSAGE = "Cancelled before it started."


def cancel(session: Session, actor: Actor, task_id: UUID) -> Task:
    """Ask for the end of a task. An ended task is answered as it is."""
    task = session.scalars(
        select(Task).where(Task.id == task_id, Task.organization_id.in_(actor.organization_ids)).with_for_update()
    ).first()
    if task is None:
        raise NotFoundError("task_not_found", "There is no such task.")
    require_submit(actor, task.organization_id)
    if TaskState(task.state).is_final:
        return task
    if task.cancel_requested_at is None:
        task.cancel_requested_at = func.now()
    if task.state == TaskState.QUEUED:
        end(session, [Ending(TaskState.CANCELLED, task_id=task.id, code="cancelled", message=MESSAGE)])
    session.flush()
    session.refresh(task)
    return task
