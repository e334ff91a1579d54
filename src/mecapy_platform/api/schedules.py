"""Schedules: a task at times of a calendar."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, OwnCaller
from mecapy_platform.api.published.run_models import WorkflowRunRequest
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.api.task_models import Fault, TaskBody
from mecapy_platform.db.workflow_tables import Schedule, ScheduleFiring
from mecapy_platform.services.schedules import schedules
from mecapy_platform.services.schedules.records import Missed, NewSchedule, Outcome, Overlap
from mecapy_platform.services.schedules.targets import Means
from mecapy_platform.services.schedules.times import CRON_LENGTH, Times

router = APIRouter(prefix="/schedules", tags=["schedules"], route_class=StrictRoute)
NEXT_SHOWN = 5
Cron = Annotated[
    str, Field(min_length=1, max_length=CRON_LENGTH, description='Minute, hour, day, month, weekday: "30 6 * * 1-5".')
]
Zone = Annotated[str, Field(min_length=1, max_length=100, description="A name such as Europe/Paris.")]
Word = Annotated[Missed, Field(strict=False)]


class RunTargetBody(WorkflowRunRequest):
    """A run of a workflow, as POST /workflows/{slug}/runs takes it."""

    workflow: Annotated[str, Field(min_length=1, max_length=200, description="Slug or id.")]


class ScheduleBody(BaseModel):
    """What to submit, and when: a task, a run, or the points of a study anew.

    The submission is tried when the schedule is made, and refused as it would be then.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    cron: Cron
    time_zone: Zone = "UTC"
    missed: Word = Missed.SKIP
    overlap: Annotated[Overlap, Field(strict=False)] = Overlap.ALLOW
    is_paused: bool = False
    task: TaskBody | None = None
    run: RunTargetBody | None = None
    study: Annotated[UUID | None, Field(strict=False, description="A study whose points are to run again.")] = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if sum(item is not None for item in (self.task, self.run, self.study)) != 1:
            raise ValueError("Name exactly one of task, run and study.")
        return self

    def target(self) -> tuple[str, dict[str, Any]]:
        """The kind, and what its submission takes."""
        if self.study is not None:
            return "study", {"study": str(self.study)}
        if self.run is not None:
            return "run", self.run.model_dump(mode="json")
        assert self.task is not None
        return "task", self.task.model_dump(mode="json")


class ScheduleChanges(BaseModel):
    """What is left out stays. The next time is counted from now."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    cron: Cron | None = None
    time_zone: Zone | None = None
    missed: Word | None = None
    overlap: Annotated[Overlap | None, Field(strict=False)] = None
    is_paused: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.changes():
            raise ValueError("Say what to change.")
        return self

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}


class ScheduleAnswer(BaseModel):
    """A schedule. `next_times`: the next ones, in UTC; none while it is paused. `explained`: `cron` in words."""

    id: UUID
    name: str
    cron: str
    explained: str
    time_zone: str
    missed: Missed
    overlap: Overlap
    is_paused: bool
    kind: str
    target: dict[str, Any]
    user_id: UUID
    next_times: list[datetime]
    created_at: datetime


class ScheduleList(BaseModel):
    schedules: list[ScheduleAnswer]


class FiringAnswer(BaseModel):
    """A time that was served, and what came of it; `made_id`: what was submitted."""

    due_at: datetime
    outcome: Outcome
    made_id: UUID | None
    error: Fault | None
    created_at: datetime


class FiringList(BaseModel):
    firings: list[FiringAnswer]


@router.post("", operation_id="create_schedule", status_code=201, responses=problems(400, 409, 429, schema="Problem"))
def create_schedule(body: ScheduleBody, caller: OwnCaller) -> ScheduleAnswer:
    """Make a schedule, in your name: what it submits has the rights that you have at that time."""
    kind, target = body.target()
    asked = NewSchedule(
        body.name,
        kind,
        target,
        body.cron,
        body.time_zone,
        body.missed,
        body.overlap,
        body.is_paused,
    )
    with caller.session() as session:
        return _schedule(schedules.create(session, caller.actor, asked, _means(caller)))


@router.get("", operation_id="list_schedules", responses=problems(schema="Problem"))
def list_schedules(caller: OwnCaller) -> ScheduleList:
    """List the schedules of the organization."""
    with caller.session() as session:
        return ScheduleList(schedules=[_schedule(found) for found in schedules.list_schedules(session, caller.actor)])


@router.get("/{schedule_id}", operation_id="get_schedule", responses=problems(schema="Problem"))
def get_schedule(schedule_id: UUID, caller: OwnCaller) -> ScheduleAnswer:
    """Look at a schedule, with its next times."""
    with caller.session() as session:
        return _schedule(schedules.get(session, caller.actor, schedule_id))


@router.patch("/{schedule_id}", operation_id="change_schedule", responses=problems(400, schema="Problem"))
def change_schedule(schedule_id: UUID, body: ScheduleChanges, caller: OwnCaller) -> ScheduleAnswer:
    """Change when a schedule fires, pause it, or let it go on."""
    with caller.session() as session:
        return _schedule(schedules.change(session, caller.actor, schedule_id, body.changes()))


@router.delete("/{schedule_id}", operation_id="delete_schedule", status_code=204, responses=problems(schema="Problem"))
def delete_schedule(schedule_id: UUID, caller: OwnCaller) -> Response:
    """Delete a schedule; what it has submitted stays."""
    with caller.session() as session:
        schedules.remove(session, caller.actor, schedule_id)
    return Response(status_code=204)


@router.get("/{schedule_id}/firings", operation_id="list_firings", responses=problems(schema="Problem"))
def list_firings(
    schedule_id: UUID,
    caller: OwnCaller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[datetime | None, Query(description="Times before this one; that of the last one shown.")] = None,
) -> FiringList:
    """List the times that were served, newest first, kept for 90 days."""
    moment = before.replace(tzinfo=UTC) if before is not None and before.tzinfo is None else before
    with caller.session() as session:
        found = schedules.firings(session, caller.actor, schedule_id, limit=limit, before=moment)
        return FiringList(firings=[_firing(row) for row in found])


def _means(caller: Caller) -> Means:
    return Means(caller.context.settings.queue_rules, caller.values)


def _schedule(row: Schedule) -> ScheduleAnswer:
    times = Times(row.cron, row.time_zone)
    upcoming = [] if row.next_at is None else [row.next_at, *times.upcoming(row.next_at, NEXT_SHOWN - 1)]
    return ScheduleAnswer(
        id=row.id,
        name=row.name,
        cron=row.cron,
        explained=times.explained(),
        time_zone=row.time_zone,
        missed=Missed(row.missed),
        overlap=Overlap(row.overlap),
        is_paused=row.is_paused,
        kind=row.kind,
        target=row.target,
        user_id=row.user_id,
        next_times=upcoming,
        created_at=row.created_at,
    )


def _firing(row: ScheduleFiring) -> FiringAnswer:
    error = None if row.error_code is None else Fault(code=row.error_code, message=row.error_message or "")
    return FiringAnswer(
        due_at=row.due_at, outcome=Outcome(row.outcome), made_id=row.made_id, error=error, created_at=row.created_at
    )
