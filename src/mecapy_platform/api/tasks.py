"""Our own task paths: submit, look, wait, cancel, retry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, OwnCaller
from mecapy_platform.api.paging import read_cursor, write_cursor
from mecapy_platform.api.problems import validation_problems
from mecapy_platform.api.spliced import respond, respond_alone, value_pieces
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.api.task_models import (
    KEY_LENGTH,
    ArtifactList,
    BulkAnswer,
    BulkBody,
    BulkError,
    BulkTaskBody,
    BulkVerdict,
    LogAnswer,
    ResultAnswer,
    TaskAnswer,
    TaskBody,
    TaskList,
)
from mecapy_platform.api.task_views import (
    render_artifact,
    render_error,
    render_logs,
    render_task,
    render_usage,
)
from mecapy_platform.api.waiting import wait_until
from mecapy_platform.core.errors import ConflictError, InvalidInputError, MecapyError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import Artifact, Task
from mecapy_platform.services.tasks import cancel as cancelling
from mecapy_platform.services.tasks import read, submit
from mecapy_platform.services.tasks.fast_path import catalog_of
from mecapy_platform.services.tasks.read import LogPage, TaskFilter
from mecapy_platform.services.tasks.requests import Submitted
from mecapy_platform.services.tasks.values import TaskValues, values_of

router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=StrictRoute)
Wait = Annotated[
    float,
    Query(ge=0, le=86400, allow_inf_nan=False, description="Seconds to wait for the end; bounded by the platform."),
]
Text = Annotated[str | None, Query(max_length=255)]
IndexMax = 2**31 - 1


@router.post(
    "",
    operation_id="submit_task",
    status_code=201,
    response_model=TaskAnswer,
    responses={
        200: {"model": TaskAnswer, "description": "The task that this key made before."},
        **problems(400, 409, 429, 507, schema="Problem"),
    },
)
async def submit_task(
    body: TaskBody,
    caller: OwnCaller,
    request: Request,
    wait: Wait = 0.0,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=KEY_LENGTH)] = None,
) -> Response:
    """Submit a task. With `wait`, answer when it has ended or when the seconds are over."""
    submitted, catalog = await run_in_threadpool(_submit, caller, body, idempotency_key)
    if submitted.view is not None:
        request.app.state.fast_path.remember(caller.actor, caller.scope, body.request(), submitted.view, catalog)
    if wait > 0:
        await _until_ended(caller, submitted.task.id, wait)
    answer = await run_in_threadpool(one_task if wait > 0 else made_task, caller, submitted.task.id)
    answer.status_code = 200 if submitted.replayed else 201
    return answer


@router.post("/bulk", operation_id="submit_tasks", responses=problems(400, 507, schema="Problem"))
def submit_tasks(body: BulkBody, caller: OwnCaller) -> BulkAnswer:
    """Submit up to 1,000 tasks; each gets its own verdict, in the order sent."""
    answer = _submit_bulk(caller, body.tasks)
    if answer.accepted:
        caller.context.hints()
    return answer


@router.get("", operation_id="list_tasks", responses=problems(schema="Problem"))
def list_tasks(
    caller: OwnCaller,
    state: Annotated[TaskState | None, Query()] = None,
    package: Text = None,
    function: Text = None,
    lane: Annotated[Lane | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> TaskList:
    """List tasks, newest first."""
    narrowed = TaskFilter(state=state, package=package, function=function, lane=lane)
    after = read_cursor(cursor) if cursor is not None else None
    with caller.session() as session:
        views = read.list_page(session, caller.actor, narrowed, after=after, limit=limit + 1)
    shown = views[:limit]
    next_cursor = write_cursor(shown[-1].task.created_at, shown[-1].task.id) if len(views) > limit else None
    return TaskList(tasks=[render_task(view) for view in shown], next_cursor=next_cursor)


@router.get("/{task_id}", operation_id="get_task", response_model=TaskAnswer, responses=problems(schema="Problem"))
async def get_task(task_id: UUID, caller: OwnCaller, wait: Wait = 0.0) -> Response:
    """Look at a task. With `wait`, answer when it has ended or when the seconds are over."""
    if wait > 0:
        await _until_ended(caller, task_id, wait)
    return await run_in_threadpool(one_task, caller, task_id)


@router.get(
    "/{task_id}/inputs",
    operation_id="get_task_inputs",
    response_model=dict[str, Any],
    responses=problems(schema="Problem"),
)
def get_task_inputs(task_id: UUID, caller: OwnCaller) -> Response:
    """The values that a task got, by port; of any size."""
    with caller.session() as session:
        read.get_task(session, caller.actor, task_id)
        lying = values_of(session, task_id, row_bytes=_row_bytes(caller)).inputs
    found = value_pieces(caller, task_id, "inputs", lying)
    return respond({}) if found is None else respond_alone(found)


@router.get(
    "/{task_id}/result",
    operation_id="get_task_result",
    response_model=ResultAnswer,
    responses=problems(409, schema="Problem"),
)
async def get_task_result(task_id: UUID, caller: OwnCaller, wait: Wait = 0.0) -> Response:
    """The outputs of an ended task, or why there are none. 409 `task_not_finished` before."""
    ended = await _until_ended(caller, task_id, wait) if wait > 0 else await run_in_threadpool(_ended, caller, task_id)
    if ended.artifacts is None:
        raise ConflictError("task_not_finished", f"The task is {ended.task.state}; its result comes when it has ended.")
    return await run_in_threadpool(_result, caller, ended.task, ended.artifacts)


@router.post(
    "/{task_id}/cancel", operation_id="cancel_task", response_model=TaskAnswer, responses=problems(schema="Problem")
)
def cancel_task(task_id: UUID, caller: OwnCaller) -> Response:
    """Stop a task. One that has ended is answered as it is."""
    with caller.session() as session:
        cancelling.cancel(session, caller.actor, task_id)
    caller.context.hints()
    return one_task(caller, task_id)


@router.post(
    "/{task_id}/retry",
    operation_id="retry_task",
    status_code=201,
    response_model=TaskAnswer,
    responses=problems(409, 429, 507, schema="Problem"),
)
def retry_task(task_id: UUID, caller: OwnCaller) -> Response:
    """A new task with the version and the inputs of an ended one."""
    with caller.accepting() as session:
        rules = caller.context.settings.queue_rules
        task = submit.retry(session, caller.actor, task_id, rules=rules, values=caller.values)
    caller.context.hints(task.lane)
    answer = made_task(caller, task.id)
    answer.status_code = 201
    return answer


@router.get("/{task_id}/logs", operation_id="get_task_logs", responses=problems(schema="Problem"))
async def get_task_logs(
    task_id: UUID,
    caller: OwnCaller,
    after: Annotated[
        int, Query(ge=0, le=IndexMax, description="The first index wanted: `next` of the answer before.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    wait: Wait = 0.0,
) -> LogAnswer:
    """Lines of output and progress, in order. With `wait`, answer when there are new ones or the task has ended."""

    def look() -> LogPage:
        with caller.session() as session:
            return read.logs(session, caller.actor, task_id, after=after, limit=limit)

    seconds = min(wait, caller.context.settings.wait_seconds_max)
    page = await wait_until(
        caller.context.doorbell, f"task:{task_id}", seconds, look, lambda found: bool(found.entries) or found.done
    )
    return render_logs(page)


@router.get("/{task_id}/artifacts", operation_id="list_task_artifacts", responses=problems(schema="Problem"))
def list_task_artifacts(task_id: UUID, caller: OwnCaller) -> ArtifactList:
    """The files that a task left: those of its output ports, and artifacts."""
    with caller.session() as session:
        read.get_task(session, caller.actor, task_id)
        found = read.artifacts(session, caller.actor, task_id)
    return ArtifactList(artifacts=[render_artifact(item, caller.context.storage) for item in found])


@dataclass(frozen=True)
class _Ended:
    """A task, and its artifacts once it has ended."""

    task: Task
    artifacts: Sequence[Artifact] | None


def _submit(caller: Caller, body: TaskBody, key: str | None) -> tuple[Submitted, int | None]:
    with caller.accepting() as session:
        catalog = catalog_of(session, caller.actor)
        rules = caller.context.settings.queue_rules
        submitted = submit.submit(
            session, caller.actor, body.request(), rules=rules, values=caller.values, idempotency_key=key
        )
    caller.context.hints(submitted.task.lane)
    return submitted, catalog


def _submit_bulk(caller: Caller, members: Sequence[object]) -> BulkAnswer:
    verdicts: dict[int, BulkVerdict] = {}
    parsed: list[tuple[int, BulkTaskBody]] = []
    for index, member in enumerate(members):
        try:
            parsed.append((index, BulkTaskBody.model_validate(member)))
        except ValidationError as error:
            mistakes = validation_problems([{**item, "loc": ("body", *item["loc"])} for item in error.errors()])
            refused = InvalidInputError("invalid_request", "The task has mistakes; see `errors`.", problems=mistakes)
            verdicts[index] = _refused(index, refused)
    with caller.accepting() as session:
        requests = [(body.request(), body.idempotency_key) for _, body in parsed]
        rules = caller.context.settings.queue_rules
        outcomes = submit.submit_many(session, caller.actor, requests, rules=rules, values=caller.values)
        replayed = [item.task.id for item in outcomes if isinstance(item, Submitted) and item.view is None]
        views = {view.task.id: view for view in read.get_many(session, caller.actor, replayed)} if replayed else {}
    for (index, _), outcome in zip(parsed, outcomes, strict=True):
        if isinstance(outcome, MecapyError):
            verdicts[index] = _refused(index, outcome)
        else:
            verdicts[index] = BulkVerdict(
                index=index, task=render_task(outcome.view or views[outcome.task.id]), error=None
            )
    results = [verdicts[index] for index in range(len(members))]
    refused_count = sum(result.error is not None for result in results)
    return BulkAnswer(results=results, accepted=len(results) - refused_count, refused=refused_count)


def _refused(index: int, error: MecapyError) -> BulkVerdict:
    fault = BulkError(code=error.code, detail=error.message, errors=[problem.as_dict() for problem in error.problems])
    return BulkVerdict(index=index, task=None, error=fault)


def one_task(caller: Caller, task_id: UUID) -> Response:
    with caller.session() as session:
        view = read.get(session, caller.actor, task_id, with_files=True)
        attempts = read.attempts(session, caller.actor, task_id)
        waiting = read.waiting(session, view.task)
        values = values_of(session, task_id, row_bytes=_row_bytes(caller))
    return _shown(caller, render_task(view, attempts=attempts, waiting=waiting, files=view.task.files), values)


def made_task(caller: Caller, task_id: UUID) -> Response:
    """A task as a submit shows it, without what has become of it since."""
    with caller.session() as session:
        view = read.get(session, caller.actor, task_id, with_files=True)
        values = values_of(session, task_id, row_bytes=_row_bytes(caller))
    return _shown(caller, render_task(view, files=view.task.files), values)


def _shown(caller: Caller, answer: TaskAnswer, values: TaskValues) -> Response:
    """With its values as far as they are small."""
    small = {
        name: value_pieces(caller, answer.id, name, lying)
        for name, lying in (("inputs", values.inputs), ("result", values.result))
        if not lying.is_large
    }
    return respond({**answer.model_dump(mode="json"), **small})


def _row_bytes(caller: Caller) -> int:
    return caller.context.settings.row_value_bytes


def _ended(caller: Caller, task_id: UUID) -> _Ended:
    with caller.session() as session:
        task = read.get_task(session, caller.actor, task_id)
        if not TaskState(task.state).is_final:
            return _Ended(task, None)
        return _Ended(task, read.artifacts(session, caller.actor, task_id))


async def _until_ended(caller: Caller, task_id: UUID, wait: float) -> _Ended:
    seconds = min(wait, caller.context.settings.wait_seconds_max)
    return await wait_until(
        caller.context.doorbell,
        f"task:{task_id}",
        seconds,
        lambda: _ended(caller, task_id),
        lambda found: found.artifacts is not None,
    )


def _result(caller: Caller, task: Task, artifacts: Sequence[Artifact]) -> Response:
    storage = caller.context.storage
    with caller.session() as session:
        lying = values_of(session, task.id, row_bytes=_row_bytes(caller)).result
    answer = ResultAnswer(
        id=task.id,
        state=task.state,
        result=None,
        error=render_error(task),
        usage=render_usage(task),
        artifacts=[render_artifact(artifact, storage) for artifact in artifacts],
    )
    return respond({**answer.model_dump(mode="json"), "result": value_pieces(caller, task.id, "result", lying)})
