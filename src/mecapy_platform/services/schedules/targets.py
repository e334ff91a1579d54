"""What schedules submit, by kind: a task, a run, a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.states import TaskState
from mecapy_platform.core.workflows.states import STUDY_FINAL, RunState
from mecapy_platform.db.tables import Task
from mecapy_platform.db.workflow_tables import Study, WorkflowRun
from mecapy_platform.services.runs import acts
from mecapy_platform.services.runs.requests import RunOptions
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.studies import studies
from mecapy_platform.services.tasks import cancel as cancelling
from mecapy_platform.services.tasks import submit
from mecapy_platform.services.tasks.requests import TaskRequest
from mecapy_platform.services.values import ValueStore
from mecapy_platform.services.workflows import running
from mecapy_platform.services.workflows.running import AskedRun


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

    def cancel(self, session: Session, actor: Actor, made_id: UUID, means: Means) -> None:
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

    def cancel(self, session: Session, actor: Actor, made_id: UUID, means: Means) -> None:  # noqa: ARG002
        cancelling.cancel(session, actor, made_id)


class RunTarget:
    """`target`: workflow (slug or id), inputs, version, failure_policy, deadline_seconds, priority, reuse."""

    def submit(self, session: Session, actor: Actor, target: Mapping[str, Any], means: Means) -> Made:
        options = RunOptions.read({name: value for name, value in target.items() if value is not None})
        asked = AskedRun(target.get("inputs") or {}, target.get("version"), options)
        tools = Tools(means.values, means.rules)
        made = running.start(session, actor, str(target["workflow"]), asked, tools).submitted
        return Made(made.run_id, session.get_one(WorkflowRun, made.run_id).organization_id)

    def is_under_way(self, session: Session, made_id: UUID) -> bool:
        state = session.scalar(select(WorkflowRun.state).where(WorkflowRun.id == made_id))
        return state is not None and not RunState(state).is_final

    def cancel(self, session: Session, actor: Actor, made_id: UUID, means: Means) -> None:
        acts.cancel(session, actor, made_id, Tools(means.values, means.rules))


class StudyTarget:
    """`target`: the id of a study, whose function, design, fixed inputs and options a new one takes."""

    def submit(self, session: Session, actor: Actor, target: Mapping[str, Any], means: Means) -> Made:
        made = studies.repeat(session, actor, UUID(str(target["study"])), means.rules)
        return Made(made.id, made.organization_id)

    def is_under_way(self, session: Session, made_id: UUID) -> bool:
        state = session.scalar(select(Study.state).where(Study.id == made_id))
        return state is not None and state not in STUDY_FINAL

    def cancel(self, session: Session, actor: Actor, made_id: UUID, means: Means) -> None:
        studies.cancel(session, actor, made_id, means.rules)


TARGETS: Mapping[str, Target] = {"task": TaskTarget(), "run": RunTarget(), "study": StudyTarget()}
