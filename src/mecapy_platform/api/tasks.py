"""Our own task paths: submit, look, wait, cancel, retry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, OwnCaller
from mecapy_platform.api.paging import read_cursor, write_cursor
from mecapy_platform.api.problems import validation_problems
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
    read_result,
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
    responses={
        200: {"model": TaskAnswer, "description": "The task that this key made before."},
        **problems(400, 409, 429, 507, schema="Problem"),
    },
)
async def submit_task(
    body: TaskBody,
    caller: OwnCaller,
    request: Request,
    response: Response,
    wait: Wait = 0.0,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=KEY_LENGTH)] = None,
) -> TaskAnswer:
    """Submit a task. With `wait`, answer when it has ended or when the seconds are over."""
    submitted, answer, catalog = await run_in_threadpool(_submit, caller, body, idempotency_key)
    if submitted.view is not None:
        request.app.state.fast_path.remember(caller.actor, caller.scope, body.request(), submitted.view, catalog)
    if submitted.replayed:
        response.status_code = 200
    return await _waited(caller, submitted.task.id, wait) if wait > 0 else answer


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


@router.get("/{task_id}", operation_id="get_task", responses=problems(schema="Problem"))
async def get_task(task_id: UUID, caller: OwnCaller, wait: Wait = 0.0) -> TaskAnswer:
    """Look at a task. With `wait`, answer when it has ended or when the seconds are over."""
    if wait > 0:
        return await _waited(caller, task_id, wait)
    return await run_in_threadpool(one_task, caller, task_id)


@router.get("/{task_id}/result", operation_id="get_task_result", responses=problems(409, schema="Problem"))
async def get_task_result(task_id: UUID, caller: OwnCaller, wait: Wait = 0.0) -> ResultAnswer:
    """The outputs of an ended task, or why there are none. 409 `task_not_finished` before."""
    ended = await _until_ended(caller, task_id, wait) if wait > 0 else await run_in_threadpool(_ended, caller, task_id)
    if ended.artifacts is None:
        raise ConflictError("task_not_finished", f"The task is {ended.task.state}; its result comes when it has ended.")
    return await run_in_threadpool(_result, caller, ended.task, ended.artifacts)


@router.post("/{task_id}/cancel", operation_id="cancel_task", responses=problems(schema="Problem"))
def cancel_task(task_id: UUID, caller: OwnCaller) -> TaskAnswer:
    """Stop a task. One that has ended is answered as it is."""
    with caller.session() as session:
        cancelling.cancel(session, caller.actor, task_id)
    caller.context.hints()
    return one_task(caller, task_id)


@router.post(
    "/{task_id}/retry",
    operation_id="retry_task",
    status_code=201,
    responses=problems(409, 429, 507, schema="Problem"),
)
def retry_task(task_id: UUID, caller: OwnCaller) -> TaskAnswer:
    """A new task with the version and the inputs of an ended one."""
    with caller.accepting() as session:
        task = submit.retry(session, caller.actor, task_id, rules=caller.context.settings.queue_rules)
        answer = render_task(read.get(session, caller.actor, task.id))
    caller.context.hints(task.lane)
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
    return ArtifactList(artifacts=[render_artifact(one, caller.context.storage) for one in found])


@dataclass(frozen=True)
class _Ended:
    """A task, and its artifacts once it has ended."""

    task: Task
    artifacts: Sequence[Artifact] | None


def _submit(caller: Caller, body: TaskBody, key: str | None) -> tuple[Submitted, TaskAnswer, int | None]:
    with caller.accepting() as session:
        catalog = catalog_of(session, caller.actor)
        submitted = submit.submit(
            session, caller.actor, body.request(), rules=caller.context.settings.queue_rules, idempotency_key=key
        )
        answer = render_task(submitted.view or read.get(session, caller.actor, submitted.task.id), with_result=True)
    caller.context.hints(submitted.task.lane)
    return submitted, answer, catalog


def _submit_bulk(caller: Caller, members: Sequence[object]) -> BulkAnswer:
    verdicts: dict[int, BulkVerdict] = {}
    parsed: list[tuple[int, BulkTaskBody]] = []
    for index, member in enumerate(members):
        try:
            parsed.append((index, BulkTaskBody.model_validate(member)))
        except ValidationError as error:
            mistakes = validation_problems([{**one, "loc": ("body", *one["loc"])} for one in error.errors()])
            refused = InvalidInputError("invalid_request", "The task has mistakes; see `errors`.", problems=mistakes)
            verdicts[index] = _refused(index, refused)
    with caller.accepting() as session:
        requests = [(body.request(), body.idempotency_key) for _, body in parsed]
        outcomes = submit.submit_many(session, caller.actor, requests, rules=caller.context.settings.queue_rules)
        replayed = [one.task.id for one in outcomes if isinstance(one, Submitted) and one.view is None]
        views = {view.task.id: view for view in read.get_many(session, caller.actor, replayed)} if replayed else {}
    for (index, _), outcome in zip(parsed, outcomes, strict=True):
        if isinstance(outcome, MecapyError):
            verdicts[index] = _refused(index, outcome)
        else:
            verdicts[index] = BulkVerdict(
                index=index, task=render_task(outcome.view or views[outcome.task.id]), error=None
            )
    results = [verdicts[index] for index in range(len(members))]
    refused_count = sum(one.error is not None for one in results)
    return BulkAnswer(results=results, accepted=len(results) - refused_count, refused=refused_count)


def _refused(index: int, error: MecapyError) -> BulkVerdict:
    fault = BulkError(code=error.code, detail=error.message, errors=[one.as_dict() for one in error.problems])
    return BulkVerdict(index=index, task=None, error=fault)


def one_task(caller: Caller, task_id: UUID) -> TaskAnswer:
    with caller.session() as session:
        view = read.get(session, caller.actor, task_id)
        attempts = read.attempts(session, caller.actor, task_id)
        waiting = read.waiting(session, view.task)
    return render_task(view, attempts=attempts, waiting=waiting, with_result=True)


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


async def _waited(caller: Caller, task_id: UUID, wait: float) -> TaskAnswer:
    await _until_ended(caller, task_id, wait)
    return await run_in_threadpool(one_task, caller, task_id)


def _result(caller: Caller, task: Task, artifacts: Sequence[Artifact]) -> ResultAnswer:
    storage = caller.context.storage
    return ResultAnswer(
        id=task.id,
        state=task.state,
        result=read_result(task, storage),
        error=render_error(task),
        usage=render_usage(task),
        artifacts=[render_artifact(one, storage) for one in artifacts],
    )
