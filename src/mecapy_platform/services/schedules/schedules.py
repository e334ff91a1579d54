"""Schedules of an organization: make, list, look, change, delete. What is due is fired by services/schedules/firing."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import ConflictError, InvalidInputError, NotFoundError, Problem, QuotaExceededError
from mecapy_platform.db.workflow_tables import Schedule, ScheduleFiring
from mecapy_platform.services.schedules.records import NewSchedule
from mecapy_platform.services.schedules.targets import TARGETS, Means
from mecapy_platform.services.schedules.times import Times
from mecapy_platform.services.values import text_of

MOST = 200  # schedules of an organization


class _TakenBackError(Exception):
    """Ends a trial that went well."""


def create(session: Session, actor: Actor, asked: NewSchedule, means: Means) -> Schedule:
    """A new schedule, of the organization whose task it submits. That is tried through its own gate, and taken back.

    Raises InvalidInputError ("cron_invalid", "time_zone_unknown", and whatever the target is refused for),
    ConflictError ("schedule_exists"), QuotaExceededError ("too_many_schedules").
    """
    times = Times(asked.cron, asked.time_zone)
    organization_id = _try(session, actor, asked.kind, asked.target, means)
    require_submit(actor, organization_id)
    _check_room(session, organization_id, asked.name)
    schedule = Schedule(
        organization_id=organization_id,
        user_id=actor.user_id,
        name=asked.name,
        kind=asked.kind,
        target=dict(asked.target),
        cron=asked.cron,
        time_zone=asked.time_zone,
        missed=asked.missed,
        overlap=asked.overlap,
        is_paused=asked.is_paused,
        next_at=None if asked.is_paused else times.after(datetime.now(UTC)),
    )
    session.add(schedule)
    session.flush()
    return schedule


def list_schedules(session: Session, actor: Actor) -> Sequence[Schedule]:
    """By name; an organization has at most MOST."""
    query = select(Schedule).where(Schedule.organization_id.in_(actor.organization_ids))
    return session.scalars(query.order_by(Schedule.name, Schedule.id)).all()


def get(session: Session, actor: Actor, schedule_id: UUID, *, locked: bool = False) -> Schedule:
    query = select(Schedule).where(Schedule.id == schedule_id, Schedule.organization_id.in_(actor.organization_ids))
    schedule = session.scalars(query.with_for_update() if locked else query).first()
    if schedule is None:
        raise NotFoundError("schedule_not_found", "There is no such schedule.")
    return schedule


def change(session: Session, actor: Actor, schedule_id: UUID, changes: Mapping[str, Any]) -> Schedule:
    """Change cron, time_zone, missed, overlap or is_paused. The next time is counted from now."""
    schedule = get(session, actor, schedule_id, locked=True)
    require_submit(actor, schedule.organization_id)
    for name, value in changes.items():
        setattr(schedule, name, value)
    times = Times(schedule.cron, schedule.time_zone)
    schedule.next_at = None if schedule.is_paused else times.after(datetime.now(UTC))
    session.flush()
    return schedule


def remove(session: Session, actor: Actor, schedule_id: UUID) -> None:
    schedule = get(session, actor, schedule_id, locked=True)
    require_submit(actor, schedule.organization_id)
    session.delete(schedule)
    session.flush()


def firings(
    session: Session, actor: Actor, schedule_id: UUID, *, limit: int, before: datetime | None = None
) -> Sequence[ScheduleFiring]:
    """Newest first."""
    schedule = get(session, actor, schedule_id)
    query = select(ScheduleFiring).where(ScheduleFiring.schedule_id == schedule.id)
    if before is not None:
        query = query.where(ScheduleFiring.due_at < before)
    return session.scalars(query.order_by(ScheduleFiring.due_at.desc()).limit(limit)).all()


def _check_room(session: Session, organization_id: UUID, name: str) -> None:
    session.execute(  # two that are made at once are counted one after the other
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"mecapy-schedules {organization_id}", 0)))
    )
    own = Schedule.organization_id == organization_id
    if session.scalar(select(Schedule.id).where(own, Schedule.name == name)) is not None:
        raise ConflictError("schedule_exists", f"There is a schedule {name!r} already; choose another name.")
    if (session.scalar(select(func.count()).select_from(Schedule).where(own)) or 0) >= MOST:
        raise QuotaExceededError(
            "too_many_schedules", f"Your organization has {MOST} schedules; delete one that is not needed any more."
        )


def _try(session: Session, actor: Actor, kind: str, target: Mapping[str, Any], means: Means) -> UUID:
    if len(text_of(target)) > means.values.row_bytes:
        message = (
            f"What a schedule submits may have {means.values.row_bytes} bytes; keep large data in a file or package."
        )
        raise InvalidInputError("target_too_large", message, problems=[Problem("target", "target_too_large", message)])
    with suppress(_TakenBackError), session.begin_nested():
        made = TARGETS[kind].submit(session, actor, target, means)
        raise _TakenBackError
    return made.organization_id
