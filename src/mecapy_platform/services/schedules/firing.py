"""Fires what is due.

A firing, what it makes and the next time are one transaction; the row of the firing, whose key is the schedule and the
time, is why several relays, and one that was killed, fire each time once.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.db.session import Database
from mecapy_platform.db.workflow_tables import Schedule, ScheduleFiring
from mecapy_platform.services.actors import present_actor
from mecapy_platform.services.schedules.records import Missed, Outcome, Overlap
from mecapy_platform.services.schedules.targets import TARGETS, Means
from mecapy_platform.services.schedules.times import Times

log = logging.getLogger(__name__)
FIRED_AT_ONCE = 50
LATE = timedelta(seconds=60)  # what is later than this was missed
CATCH_UP = timedelta(days=7)  # what was missed before that is not made up for
KEPT = timedelta(days=90)


@dataclass(frozen=True)
class Fired:
    """What one firing came to."""

    outcome: Outcome
    made_id: UUID | None = None
    code: str | None = None
    message: str | None = None


def fire_due(database: Database, means: Means, now: datetime | None = None) -> int:
    """Fire schedules whose time has come, one after another. Returns how many made something."""
    made = 0
    for _ in range(FIRED_AT_ONCE):
        with database.transaction() as session:
            fired = _fire_next(session, means, now or datetime.now(UTC))
        if fired is None:
            break
        made += fired.made_id is not None
    return made


def forget_old(database: Database) -> None:
    with database.transaction() as session:
        session.execute(delete(ScheduleFiring).where(ScheduleFiring.created_at < func.now() - KEPT))


def _fire_next(session: Session, means: Means, now: datetime) -> Fired | None:
    schedule = session.scalars(
        select(Schedule)
        .where(Schedule.next_at <= now, Schedule.is_paused.is_(False))
        .order_by(Schedule.next_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if schedule is None or schedule.next_at is None:
        return None
    due_at, times = schedule.next_at, Times(schedule.cron, schedule.time_zone)
    fired = _fire(session, schedule, due_at, means, now)
    is_behind = schedule.missed == Missed.CATCH_UP and now - due_at <= CATCH_UP
    schedule.next_at = times.after(due_at if is_behind else max(due_at, now))
    row = {
        "schedule_id": schedule.id,
        "due_at": due_at,
        "organization_id": schedule.organization_id,
        "outcome": fired.outcome,
        "made_id": fired.made_id,
        "error_code": fired.code,
        "error_message": fired.message,
    }
    session.execute(insert(ScheduleFiring).values(row))  # refused, and all of this with it, where it was fired before
    return fired


def _fire(session: Session, schedule: Schedule, due_at: datetime, means: Means, now: datetime) -> Fired:
    late = now - due_at
    if late > (CATCH_UP if schedule.missed == Missed.CATCH_UP else LATE):
        return Fired(Outcome.MISSED, None, "schedule_missed", "The platform was not there at this time.")
    actor = present_actor(session, schedule.user_id, schedule.organization_id)
    if actor is None:
        schedule.is_paused = True
        message = "Whoever made the schedule is no member any more; a member may make it anew."
        return Fired(Outcome.REFUSED, None, "schedule_owner_gone", message)
    target = TARGETS[schedule.kind]
    try:
        with session.begin_nested():
            if not _gives_way(session, actor, schedule, means):
                message = "What it started before has not ended."
                return Fired(Outcome.OVERLAPPED, None, "schedule_overlap", message)
            return Fired(Outcome.MADE, target.submit(session, actor, schedule.target, means).id)
    except MecapyError as error:
        log.info("schedule %s could not be fired: %s", schedule.id, error.code)
        return Fired(Outcome.REFUSED, None, error.code, error.message)


def _gives_way(session: Session, actor: Actor, schedule: Schedule, means: Means) -> bool:
    """Whether it may start beside what it started before, which is asked to end where the schedule says so."""
    if schedule.overlap == Overlap.ALLOW:
        return True
    before = session.scalar(
        select(ScheduleFiring.made_id)
        .where(ScheduleFiring.schedule_id == schedule.id, ScheduleFiring.made_id.is_not(None))
        .order_by(ScheduleFiring.due_at.desc())
        .limit(1)
    )
    target = TARGETS[schedule.kind]
    if before is None or not target.is_under_way(session, before):
        return True
    if schedule.overlap == Overlap.SKIP:
        return False
    target.cancel(session, actor, before, means)
    return True
