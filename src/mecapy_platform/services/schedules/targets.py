"""What schedules submit, by kind: a task, and whatever else registers here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import Task
from mecapy_platform.services.tasks import cancel as cancelling
from mecapy_platform.services.tasks import submit
from mecapy_platform.services.tasks.requests import TaskRequest
from mecapy_platform.services.values import ValueStore


@dataclass(frozen=True)
class Means:
    """What submitting needs beside a session and an actor."""

    rules: QueueRules
    values: ValueStore


@dataclass(frozen=True)
class Made:
    """What was submitted, and whose it is."""

    id: UUID
    organization_id: UUID


class Target(Protocol):
    """A kind of thing that schedules submit."""

    def submit(self, session: Session, actor: Actor, target: Mapping[str, Any], means: Means) -> Made:
        """Submit it now, through the gate of its own route."""

    def is_under_way(self, session: Session, made_id: UUID) -> bool:
        """Whether what was submitted before has not ended."""

    def cancel(self, session: Session, actor: Actor, made_id: UUID) -> None:
        """Ask for its end."""


class TaskTarget:
    """`target`: package, function, version, inputs, priority, timeout_seconds, name."""

    def submit(self, session: Session, actor: Actor, target: Mapping[str, Any], means: Means) -> Made:
        files = {port: UUID(str(upload_id)) for port, upload_id in (target.get("files") or {}).items()}
        request = TaskRequest(**{**target, "files": files})
        made = submit.submit(session, actor, request, rules=means.rules, values=means.values)
        return Made(made.task.id, made.task.organization_id)

    def is_under_way(self, session: Session, made_id: UUID) -> bool:
        state = session.scalar(select(Task.state).where(Task.id == made_id))
        return state is not None and not TaskState(state).is_final

    def cancel(self, session: Session, actor: Actor, made_id: UUID) -> None:
        cancelling.cancel(session, actor, made_id)


TARGETS: Mapping[str, Target] = {"task": TaskTarget()}
