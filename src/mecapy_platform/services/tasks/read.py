"""Looks at tasks, for those who may. Every query names the organizations; row-level security is the second fence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session, load_only, undefer

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.core.placement import misfit_everywhere, refusal_now
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import (
    Artifact,
    Attempt,
    Function,
    Organization,
    Package,
    PackageVersion,
    Task,
    TaskLog,
)
from mecapy_platform.services.places import known_places, needs_of_task

COUNTED_AHEAD = 1000
SHOWN = (  # of what a task ran; the rest may be large, and lists have many. Why a task waits reads more, for that task
    load_only(Function.name, Function.checksum),
    load_only(PackageVersion.version),
)


@dataclass(frozen=True)
class TaskFilter:
    """What a list is narrowed to; None leaves a field open."""

    state: str | None = None
    package: str | None = None
    function: str | None = None
    lane: str | None = None
    user_id: UUID | None = None


@dataclass(frozen=True)
class TaskView:
    """A task with what it ran."""

    task: Task
    function: Function
    version: PackageVersion
    package: Package
    owner: str


@dataclass(frozen=True)
class LogPage:
    """Lines from one offset on; `next` is where to go on, `done` says that nothing more will come."""

    entries: Sequence[TaskLog]
    next: int
    done: bool


@dataclass(frozen=True)
class WaitReason:
    """Why a queued task has not started."""

    code: str
    message: str


def get_task(session: Session, actor: Actor, task_id: UUID, *, stays: bool = False) -> Task:
    """`stays`: nobody can remove it until this transaction ends; with its files."""
    query = select(Task).where(Task.id == task_id, Task.organization_id.in_(actor.organization_ids))
    if stays:
        query = query.options(undefer(Task.files)).with_for_update(read=True, key_share=True)
    task = session.scalars(query).first()
    if task is None:
        raise NotFoundError("task_not_found", "There is no such task.")
    return task


def get(session: Session, actor: Actor, task_id: UUID, *, with_files: bool = False) -> TaskView:
    query = _views(actor).where(Task.id == task_id)
    row = session.execute(query.options(undefer(Task.files)) if with_files else query).first()
    if row is None:
        raise NotFoundError("task_not_found", "There is no such task.")
    return TaskView(*row)


def get_many(session: Session, actor: Actor, task_ids: Sequence[UUID]) -> list[TaskView]:
    return [TaskView(*row) for row in session.execute(_views(actor).where(Task.id.in_(task_ids)))]


def list_page(
    session: Session, actor: Actor, narrowed: TaskFilter, *, after: tuple[datetime, UUID] | None = None, limit: int = 50
) -> list[TaskView]:
    """Newest first; `after` is the (created_at, id) of the last task already seen."""
    query = _views(actor)
    for column, value in (
        (Task.state, narrowed.state),
        (Task.lane, narrowed.lane),
        (Task.user_id, narrowed.user_id),
        (Package.name, narrowed.package),
        (Function.name, narrowed.function),
    ):
        if value is not None:
            query = query.where(column == value)
    if after is not None:
        query = query.where(tuple_(Task.created_at, Task.id) < after)
    rows = session.execute(query.order_by(Task.created_at.desc(), Task.id.desc()).limit(limit))
    return [TaskView(*row) for row in rows]


def attempts(session: Session, actor: Actor, task_id: UUID) -> list[Attempt]:
    query = select(Attempt).where(Attempt.task_id == task_id, Attempt.organization_id.in_(actor.organization_ids))
    return list(session.scalars(query.order_by(Attempt.number)))


def artifacts(session: Session, actor: Actor, task_id: UUID) -> list[Artifact]:
    """What the last attempt left; the files of earlier ones are not its result."""
    query = (
        select(Artifact)
        .join(Task, Task.id == Artifact.task_id)
        .where(Artifact.task_id == task_id, Artifact.attempt == Task.attempts)
    )
    query = query.where(Artifact.organization_id.in_(actor.organization_ids))
    return list(session.scalars(query.order_by(Artifact.kind, Artifact.name)))


def logs(session: Session, actor: Actor, task_id: UUID, *, after: int = 0, limit: int = 1000) -> LogPage:
    """Lines with an index of at least `after`."""
    task = get_task(session, actor, task_id)
    query = select(TaskLog).where(
        TaskLog.task_id == task_id, TaskLog.organization_id.in_(actor.organization_ids), TaskLog.index >= after
    )
    entries = list(session.scalars(query.order_by(TaskLog.index).limit(limit)))
    is_last = len(entries) < limit
    return LogPage(entries, entries[-1].index + 1 if entries else after, TaskState(task.state).is_final and is_last)


def waiting(session: Session, task: Task) -> WaitReason | None:
    """Why a queued task waits, said for the person who waits; None for a task that does not."""
    if task.state != TaskState.QUEUED:
        return None
    if task.hold_reason == "building":
        return _without_worker(session, task) or WaitReason("building", "Its package version is still being built.")
    return _held(task) or _without_worker(session, task) or _behind(session, task)


def _held(task: Task) -> WaitReason | None:
    if task.hold_reason == "backoff" and task.not_before is not None:
        return WaitReason(
            "backoff", f"The last attempt failed; the next one starts after {task.not_before:%H:%M:%S} UTC."
        )
    return None


def _without_worker(session: Session, task: Task) -> WaitReason | None:
    places = known_places(session)
    if not places:
        return WaitReason("no_worker", "No worker is running; an operator must start one.")
    needs = needs_of_task(session, task)
    found = misfit_everywhere(needs, places)
    if found is not None:
        return WaitReason(found.code, found.message)
    refusal = refusal_now(needs, places, task.lane)
    return None if refusal is None else WaitReason("workers_refuse", f"No worker takes it just now: {refusal}")


def _behind(session: Session, task: Task) -> WaitReason:
    earlier = (
        select(Task.id)
        .where(
            Task.claimable,
            Task.lane == task.lane,
            Task.organization_id == task.organization_id,
            tuple_(Task.rank, Task.sequence) < (task.rank, task.sequence),
        )
        .limit(COUNTED_AHEAD)
    )
    ahead = session.scalar(select(func.count()).select_from(earlier.subquery())) or 0
    if ahead:
        more = " or more" if ahead == COUNTED_AHEAD else ""
        return WaitReason("behind_others", f"{ahead}{more} tasks of your organization are ahead of it in {task.lane}.")
    return WaitReason("capacity", "It is next of your organization; it starts as soon as a worker has room for it.")


def _views(actor: Actor) -> Select[Task, Function, PackageVersion, Package, str]:
    return (
        select(Task, Function, PackageVersion, Package, Organization.slug)
        .join(Function, Function.id == Task.function_id)
        .join(PackageVersion, PackageVersion.id == Task.package_version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .join(Organization, Organization.id == Package.organization_id)
        .where(Task.organization_id.in_(actor.organization_ids))
        .options(*SHOWN)
    )
