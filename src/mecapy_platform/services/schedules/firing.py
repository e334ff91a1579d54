"""Fires what is due.

A firing, what it makes and the next time are one transaction; the row of the firing, whose key is the schedule and the
time, is why several relays, and one that was killed, fire each time once.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import InvalidInputError, MecapyError
from mecapy_platform.db.errors import DatabaseAwayError, translated
from mecapy_platform.db.session import Database
from mecapy_platform.db.workflow_tables import Schedule, ScheduleFiring
from mecapy_platform.services.actors import present_actor
from mecapy_platform.services.pauses import Pauses
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


@dataclass
class DueSchedules:
    """What the relay fires. One that fails for a reason nobody thought of is said, and delays no other."""

    database: Database
    means: Means
    _pauses: Pauses = field(default_factory=Pauses)

    def fire(self, now: datetime | None = None) -> int:
        """Fire schedules whose time has come. Returns how many made something."""
        moment = now or datetime.now(UTC)
        with self.database.transaction() as session:
            due = session.scalars(
                select(Schedule.id)
                .where(Schedule.next_at <= moment, Schedule.is_paused.is_(False))
                .order_by(Schedule.next_at)
                .limit(FIRED_AT_ONCE)
            ).all()
        return sum(self._fire(schedule_id, moment) for schedule_id in due if not self._pauses.holds(schedule_id))

    def _fire(self, schedule_id: UUID, now: datetime) -> bool:
        try:
            with self.database.transaction() as session:
                fired = _fire_next(session, schedule_id, self.means, now)
        except DatabaseAwayError:
            raise
        except Exception as error:  # the time is served all the same: it would come again each second
            log.exception("schedule %s could not be fired", schedule_id)
            self._pauses.failed(schedule_id)
            code = error.code if isinstance(error, MecapyError) else "internal_error"
            with self.database.transaction() as session:
                _pass_over(session, schedule_id, now, code)
            return False
        self._pauses.went_well(schedule_id)
        return fired is not None and fired.made_id is not None


def forget_old(database: Database) -> None:
    with database.transaction() as session:
        session.execute(delete(ScheduleFiring).where(ScheduleFiring.created_at < func.now() - KEPT))


def _locked(session: Session, schedule_id: UUID, now: datetime) -> Schedule | None:
    """The schedule, if its time has come and nobody else serves it."""
    query = select(Schedule).where(Schedule.id == schedule_id, Schedule.next_at <= now, Schedule.is_paused.is_(False))
    return session.scalars(query.with_for_update(skip_locked=True)).first()


def _fire_next(session: Session, schedule_id: UUID, means: Means, now: datetime) -> Fired | None:
    schedule = _locked(session, schedule_id, now)
    if schedule is None or schedule.next_at is None:
        return None
    due_at, times = schedule.next_at, Times(schedule.cron, schedule.time_zone)
    fired = _fire(session, schedule, due_at, means, now)
    is_behind = schedule.missed == Missed.CATCH_UP and now - due_at <= CATCH_UP
    schedule.next_at = times.after(due_at if is_behind else max(due_at, now))
    _note(session, schedule, due_at, fired)
    return fired


def _pass_over(session: Session, schedule_id: UUID, now: datetime, code: str) -> None:
    """Serve a time that could not be fired; a schedule whose times cannot be read any more is paused."""
    schedule = _locked(session, schedule_id, now)
    if schedule is None or schedule.next_at is None:
        return
    due_at = schedule.next_at
    try:
        schedule.next_at = Times(schedule.cron, schedule.time_zone).after(max(due_at, now))
    except InvalidInputError:
        schedule.is_paused, schedule.next_at = True, None
    _note(session, schedule, due_at, Fired(Outcome.REFUSED, None, code, "It could not be fired; an operator sees why."))


def _note(session: Session, schedule: Schedule, due_at: datetime, fired: Fired) -> None:
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
        with translated(), session.begin_nested():
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
