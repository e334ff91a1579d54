"""Studies: a function varied by a design, a point each a call."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, OwnCaller
from mecapy_platform.api.paging import read_cursor, write_cursor
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.api.task_models import KEY_LENGTH, Fault, Name, UsageAnswer
from mecapy_platform.api.waiting import wait_until
from mecapy_platform.core.workflows.states import STUDY_FINAL, CallState, StudyState
from mecapy_platform.db.workflow_tables import Study
from mecapy_platform.services.studies import studies
from mecapy_platform.services.studies.drawing import Drawer, Ground
from mecapy_platform.services.studies.quantities import Quantities
from mecapy_platform.services.studies.records import MOST_POINTS, Options, StudyRequest
from mecapy_platform.services.studies.statistics import StatisticsRequest, order_of, rows_of

router = APIRouter(prefix="/studies", tags=["studies"], route_class=StrictRoute)
EXPORTED_AT_ONCE = 1_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would calculate
Expressions = Annotated[dict[Name, Annotated[str, Field(max_length=4096)]], Field(max_length=50)]


class OptionsBody(BaseModel):
    """How a study runs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    priority: Annotated[int, Field(ge=0, le=9)] = 5
    parallel: Annotated[int | None, Field(ge=1, le=10_000, description="Points under way at once.")] = None
    max_cpu_hours: Annotated[float | None, Field(gt=0, le=1e9, allow_inf_nan=False)] = None
    max_failures: Annotated[int | None, Field(ge=0, le=MOST_POINTS)] = None
    derived: Annotated[Expressions, Field(description="Expressions over inputs and outputs, by name.")] = {}
    criteria: Annotated[Expressions, Field(description="Expressions that hold for a point that succeeds.")] = {}


class OptionsChanges(BaseModel):
    """What is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    priority: Annotated[int | None, Field(ge=0, le=9)] = None
    parallel: Annotated[int | None, Field(ge=1, le=10_000)] = None
    max_cpu_hours: Annotated[float | None, Field(gt=0, le=1e9, allow_inf_nan=False)] = None
    max_failures: Annotated[int | None, Field(ge=0, le=MOST_POINTS)] = None
    derived: Expressions | None = None
    criteria: Expressions | None = None


class StudyBody(BaseModel):
    """What to vary, how points are made, and what they share."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    package: Annotated[str, Field(min_length=1, max_length=300, description='"name" or "owner/name"')]
    function: Name
    version: Annotated[str | None, Field(max_length=100, description="The newest usable version when left out.")] = None
    design: Annotated[dict[str, Any], Field(description='Such as {"kind": "list", "points": [..]}; see the reference.')]
    fixed: Annotated[dict[str, Any], Field(description="Inputs that all points share.")] = {}
    options: OptionsBody = OptionsBody()

    def request(self) -> StudyRequest:
        return StudyRequest(
            self.name,
            self.package,
            self.function,
            self.design,
            self.version,
            self.fixed,
            Options(**self.options.model_dump()),
        )


class PointsBody(BaseModel):
    """More points of the same design."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    addition: Annotated[
        dict[str, Any], Field(description='{"points": 500} of a sampled design, {"points": [{..}]} of a list.')
    ]


Statistic = Literal[
    "moments",
    "quantiles",
    "histogram",
    "success",
    "correlation",
    "regression",
    "effects",
    "sobol",
    "morris",
    "tornado",
    "pareto",
]


class ObjectiveBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    goal: Literal["minimise", "maximise"] = "minimise"


class StatisticsBody(BaseModel):
    """What to calculate. A sample with missing values is refused unless they are to be left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    wanted: Annotated[list[Statistic], Field(min_length=1, max_length=11)] = ["moments", "quantiles"]
    columns: Annotated[list[Name] | None, Field(max_length=200, description="All numbers when left out.")] = None
    incomplete: Literal["refuse", "leave_out"] = "refuse"
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    probabilities: Annotated[list[float] | None, Field(max_length=100)] = None
    bins: Annotated[int | None, Field(ge=1, le=1000)] = None
    quadratic: bool = False
    objectives: Annotated[list[ObjectiveBody], Field(max_length=10)] = []

    def request(self) -> StatisticsRequest:
        options = self.model_dump(exclude={"wanted", "columns", "incomplete"}, exclude_none=True)
        return StatisticsRequest(self.wanted, self.columns, self.incomplete == "leave_out", options)


class StatisticsAnswer(BaseModel):
    """`used` of `points` had all values; `left_out`: how many had not, by reason. Numbers are in SI."""

    points: int
    used: int
    left_out: dict[str, int]
    confidence: float
    statistics: dict[str, Any]


class EstimateAnswer(BaseModel):
    """What the study would take. `is_learned`: from earlier runs, else from the time limit, which is far above."""

    points: int
    seconds_each: float
    cpu_hours: float
    is_learned: bool
    waiting_before: int
    notes: list[str] = []


class StudyAnswer(BaseModel):
    """A study; the numbers are those of its points. `change` grows with each change."""

    id: UUID
    name: str
    state: StudyState
    function_id: UUID | None
    design: dict[str, Any]
    fixed: dict[str, Any]
    options: dict[str, Any]
    points: int
    waiting: int
    running: int
    completed: int
    failed: int
    cancelled: int
    cpu_seconds: float
    error: Fault | None
    outcome: Annotated[dict[str, Any] | None, Field(description="What a driven study has found.")]
    change: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    user_id: UUID


class StudyList(BaseModel):
    studies: list[StudyAnswer]
    next_cursor: str | None


class FailureGroup(BaseModel):
    code: str | None
    message: str | None
    points: int
    first: int


class FailureList(BaseModel):
    failures: list[FailureGroup]


class PointAnswer(BaseModel):
    """A point, with what is computed of it, in SI. A result above 256 KiB is at its task alone.

    `success`: whether it meets every criterion of the study; null without criteria, and before its end.
    """

    index: int
    id: UUID
    state: CallState
    tries: int
    task_id: UUID | None
    inputs: dict[str, Any] | None
    result: dict[str, Any] | None
    derived: dict[str, Any]
    success: bool | None
    error: Fault | None
    usage: UsageAnswer | None
    started_at: datetime | None
    completed_at: datetime | None


class PointList(BaseModel):
    points: list[PointAnswer]
    next_after: Annotated[int | None, Field(description="`after` of the next page.")]


@router.post(
    "",
    operation_id="create_study",
    status_code=201,
    responses={
        200: {"model": StudyAnswer, "description": "The study that this key made before."},
        **problems(400, 409, 429, 507, schema="Problem"),
    },
)
def create_study(
    body: StudyBody,
    caller: OwnCaller,
    request: Request,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=KEY_LENGTH)] = None,
) -> StudyAnswer:
    """Make a study and start it. It goes on by itself."""
    asked = body.request()
    ground = _ground(caller, asked)
    if idempotency_key is not None:
        with caller.session() as session:
            before = studies.find_made_before(session, caller.actor, asked, idempotency_key)
            if before is not None:
                response.status_code = 200
                return _study(before)
    drawn = _drawer(request).draw(asked.design, ground)
    with caller.accepting() as session:
        study, is_repeated = studies.create(
            session, caller.actor, asked, drawn, caller.context.settings.queue_rules, key=idempotency_key
        )
        answer = _study(study)
    response.status_code = 200 if is_repeated else 201
    caller.context.hints()
    return answer


@router.post("/estimate", operation_id="estimate_study", responses=problems(400, 409, schema="Problem"))
def estimate_study(body: StudyBody, caller: OwnCaller, request: Request) -> EstimateAnswer:
    """Say what a study would take, and whether it would be accepted; nothing is kept."""
    asked = body.request()
    drawn = _drawer(request).draw(asked.design, _ground(caller, asked))
    with caller.session() as session:
        resolved = studies.target_of(session, caller.actor, asked)
        found = studies.estimate(session, resolved, len(drawn.points))
    return EstimateAnswer(**vars(found), notes=list(drawn.notes))


@router.get("", operation_id="list_studies", responses=problems(schema="Problem"))
def list_studies(
    caller: OwnCaller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> StudyList:
    """List studies, newest first."""
    after = read_cursor(cursor) if cursor is not None else None
    with caller.session() as session:
        found = studies.list_page(session, caller.actor, after=after, limit=limit + 1)
        shown = [_study(study) for study in found[:limit]]
    next_cursor = write_cursor(shown[-1].created_at, shown[-1].id) if len(found) > limit else None
    return StudyList(studies=shown, next_cursor=next_cursor)


@router.get("/{study_id}", operation_id="get_study", responses=problems(schema="Problem"))
async def get_study(
    study_id: UUID,
    caller: OwnCaller,
    wait: Annotated[float, Query(ge=0, le=86400, allow_inf_nan=False, description="Seconds, bounded.")] = 0.0,
    change: Annotated[int, Query(ge=-1, le=2**62, description="With `wait`: answer once `change` is above this.")] = -1,
) -> StudyAnswer:
    """Look at a study: how many of its points are in which state. With `wait`, answer when it has changed or ended."""

    def look() -> StudyAnswer:
        with caller.session() as session:
            return _study(studies.get(session, caller.actor, study_id))

    seconds = min(wait, caller.context.settings.wait_seconds_max)
    return await wait_until(
        caller.context.doorbell,
        f"study:{study_id}",
        seconds,
        look,
        lambda found: found.change > change or found.state in STUDY_FINAL,
    )


@router.get("/{study_id}/points", operation_id="list_points", responses=problems(schema="Problem"))
def list_points(
    study_id: UUID,
    caller: OwnCaller,
    state: Annotated[CallState | None, Query()] = None,
    after: Annotated[int, Query(ge=-1, le=MOST_POINTS)] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> PointList:
    """List points in their order, with inputs and results."""
    with caller.session() as session:
        computed = studies.quantities(session, studies.get(session, caller.actor, study_id))
        found = studies.points(session, caller.actor, study_id, after=after, limit=limit + 1, state=state)
    shown = [_point(row, computed) for row in found[:limit]]
    has_more = bool(found) and found[0]["listed"] > len(shown)
    return PointList(points=shown, next_after=shown[-1].index if has_more else None)


@router.get("/{study_id}/failures", operation_id="list_failures", responses=problems(schema="Problem"))
def list_failures(study_id: UUID, caller: OwnCaller) -> FailureList:
    """Why points failed, grouped by what they said, most frequent first."""
    with caller.session() as session:
        study = studies.get(session, caller.actor, study_id)
        return FailureList(failures=[FailureGroup(**row) for row in studies.failures(session, study)])


@router.get(
    "/{study_id}/export",
    operation_id="export_study",
    response_class=StreamingResponse,
    responses=problems(schema="Problem"),
)
def export_study(
    study_id: UUID, caller: OwnCaller, form: Annotated[Literal["csv", "json"], Query(alias="format")] = "csv"
) -> StreamingResponse:
    """All points as one file: CSV with a column for each input, output and quantity, or JSON, an object a line."""
    with caller.session() as session:
        quantities = studies.quantities(session, studies.get(session, caller.actor, study_id))
    rows = (_with_computed(row, quantities) for row in _each_point(caller, study_id))
    pieces, kind = (_csv(rows), "text/csv; charset=utf-8") if form == "csv" else (_lines(rows), "application/x-ndjson")
    return StreamingResponse(pieces, media_type=kind)


@router.post("/{study_id}/statistics", operation_id="calculate_statistics", responses=problems(400, schema="Problem"))
def calculate_statistics(study_id: UUID, body: StatisticsBody, caller: OwnCaller, request: Request) -> StatisticsAnswer:
    """Calculate statistics of a study's points, of those that have ended so far."""
    with caller.session() as session:
        study = studies.get(session, caller.actor, study_id)
        order, rows = order_of(session, study, body.request()), rows_of(session, study)
    found = _drawer(request).math.statistics(order, rows)
    told = ("points", "used", "left_out", "confidence")
    return StatisticsAnswer(
        **{name: found[name] for name in told},
        statistics={name: value for name, value in found.items() if name not in told},
    )


@router.post("/{study_id}/points", operation_id="add_points", responses=problems(400, 409, 507, schema="Problem"))
def add_points(study_id: UUID, body: PointsBody, caller: OwnCaller, request: Request) -> StudyAnswer:
    """Add points to a study; one that has ended goes on with them."""
    with caller.session() as session:
        study = studies.get(session, caller.actor, study_id)
        ground = Ground.of(studies.function_of(session, caller.actor, study), study.fixed)
        design, there = study.design, study.points
    drawn = _drawer(request).draw_more(design, there, body.addition, ground)
    with caller.accepting() as session:
        rules = caller.context.settings.queue_rules
        answer = _study(studies.add_points(session, caller.actor, study_id, drawn, rules, there=there))
    caller.context.hints()
    return answer


@router.patch("/{study_id}", operation_id="change_study", responses=problems(400, schema="Problem"))
def change_study(study_id: UUID, body: OptionsChanges, caller: OwnCaller) -> StudyAnswer:
    """Change priority, parallelism, budgets, derived quantities or criteria."""
    changes = {name: getattr(body, name) for name in body.model_fields_set if getattr(body, name) is not None}
    with caller.session() as session:
        rules = caller.context.settings.queue_rules
        answer = _study(studies.change_options(session, caller.actor, study_id, changes, rules))
    caller.context.hints()
    return answer


@router.post("/{study_id}/pause", operation_id="pause_study", responses=problems(409, schema="Problem"))
def pause_study(study_id: UUID, caller: OwnCaller) -> StudyAnswer:
    """Start nothing more; what runs goes on to its end."""
    with caller.session() as session:
        return _study(studies.pause(session, caller.actor, study_id))


@router.post("/{study_id}/resume", operation_id="resume_study", responses=problems(409, 507, schema="Problem"))
def resume_study(study_id: UUID, caller: OwnCaller) -> StudyAnswer:
    """Go on. Of an ended study, run again what failed or was cancelled."""
    with caller.accepting() as session:
        answer = _study(studies.resume(session, caller.actor, study_id, caller.context.settings.queue_rules))
    caller.context.hints()
    return answer


@router.post("/{study_id}/cancel", operation_id="cancel_study", responses=problems(schema="Problem"))
def cancel_study(study_id: UUID, caller: OwnCaller) -> StudyAnswer:
    """Cancel what waits, and ask what runs to end."""
    with caller.session() as session:
        return _study(studies.cancel(session, caller.actor, study_id, caller.context.settings.queue_rules))


def _ground(caller: Caller, asked: StudyRequest) -> Ground:
    with caller.session() as session:
        return Ground.of(studies.target_of(session, caller.actor, asked)[0], asked.fixed)


def _drawer(request: Request) -> Drawer:
    drawer: Drawer = request.app.state.drawer
    return drawer


def _study(row: Study) -> StudyAnswer:
    error = None if row.error_code is None else Fault(code=row.error_code, message=row.error_message or "")
    names = set(StudyAnswer.model_fields) - {"error", "state"}
    return StudyAnswer(state=StudyState(row.state), error=error, **{name: getattr(row, name) for name in names})


def _point(row: Mapping[str, Any], quantities: Quantities) -> PointAnswer:
    error = None if row["error_code"] is None else Fault(code=row["error_code"], message=row["error_message"] or "")
    is_used = row["wall_seconds"] is not None
    usage = UsageAnswer(**{name: row[name] for name in UsageAnswer.model_fields}) if is_used else None
    computed = quantities.of(row["inputs"], row["result"])
    names = set(PointAnswer.model_fields) - {"error", "usage", "derived", "success"}
    return PointAnswer(error=error, usage=usage, **vars(computed), **{name: row[name] for name in names})


def _each_point(caller: Caller, study_id: UUID) -> Iterator[Mapping[str, Any]]:
    after = -1
    while True:
        with caller.session() as session:
            rows = studies.points(session, caller.actor, study_id, after=after, limit=EXPORTED_AT_ONCE)
        if not rows:
            return
        yield from rows
        after = rows[-1]["index"]


def _with_computed(row: Mapping[str, Any], quantities: Quantities) -> Mapping[str, Any]:
    computed = quantities.of(row["inputs"], row["result"])
    success = {} if computed.success is None else {"success": computed.success}
    return {**row, "result": {**(row["result"] or {}), **computed.derived, **success}}


def _lines(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        shown = {name: row[name] for name in ("index", "state", "inputs", "result", "error_code", "error_message")}
        yield json.dumps(shown) + "\n"


def _csv(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """Columns are those of the first point and of the first result; what stands in no column is left out."""
    batch: list[Mapping[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == EXPORTED_AT_ONCE:
            break
    inputs = sorted({name for row in batch for name in row["inputs"] or {}})
    results = sorted({name for row in batch for name in row["result"] or {}})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ["index", "state", *inputs, *(f"out.{name}" if name in inputs else name for name in results), "error"]
    )
    for row in (*batch, *rows):
        cells = [(row["inputs"] or {}).get(name) for name in inputs] + [
            (row["result"] or {}).get(name) for name in results
        ]
        writer.writerow([row["index"], row["state"], *map(_cell, cells), _cell(row["error_message"])])
        if text.tell() > 64 << 10:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _cell(value: Any) -> str:
    """A number or a text; what a spreadsheet would take for a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return json.dumps(value)
