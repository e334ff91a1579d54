"""Cancels what carries the calls of nodes: queued tasks end at once, running ones are asked, inner runs too."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.states import TaskState
from mecapy_platform.db import runs as statements
from mecapy_platform.services.tasks.cancel import MESSAGE
from mecapy_platform.services.tasks.ending import Ending, end


@dataclass
class Stopped:
    """`runs`: inner runs that were asked to stop, to be advanced; `has_ended`: whether a task ended at once."""

    runs: list[UUID] = field(default_factory=list)
    has_ended: bool = False


def stop(session: Session, node_ids: Sequence[UUID]) -> Stopped:
    carriers = session.execute(statements.CARRIERS, {"node_ids": list(node_ids)}).all()
    stopped = Stopped([row.child_run_id for row in carriers if row.child_run_id is not None])
    if stopped.runs:
        session.execute(statements.CANCEL_RUNS, {"run_ids": stopped.runs})
    task_ids = [row.task_id for row in carriers if row.task_id is not None]
    if task_ids:
        rows = session.execute(statements.STOP_TASKS, {"task_ids": task_ids}).all()
        queued = [row.id for row in rows if row.state == TaskState.QUEUED]
        endings = [
            Ending(TaskState.CANCELLED, task_id=task_id, code="cancelled", message=MESSAGE) for task_id in queued
        ]
        stopped.has_ended = end(session, endings) > 0
    return stopped
