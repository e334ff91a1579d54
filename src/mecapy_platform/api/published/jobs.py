"""Published job paths: tasks under their older name."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, PublishedCaller
from mecapy_platform.api.published.models import (
    FunctionExecuteRequest,
    JobListResponse,
    JobLogChunk,
    JobLogsResponse,
    JobResultResponse,
    JobStatus,
    JobStatusResponse,
    JobSubmitResponse,
    JobSummary,
)
from mecapy_platform.api.published.views import duration_ms, job_status, moment, optional_moment, parse_id
from mecapy_platform.api.spliced import Pieces, file_pieces, respond, value_pieces, with_members
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.api.task_models import ArtifactList
from mecapy_platform.api.task_views import render_artifact
from mecapy_platform.core.errors import ConflictError, InvalidInputError, Problem
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import Artifact, Task
from mecapy_platform.services.tasks import read, submit
from mecapy_platform.services.tasks.read import TaskFilter
from mecapy_platform.services.tasks.requests import TaskRequest
from mecapy_platform.services.tasks.values import values_of
from mecapy_platform.storage.base import Storage

router = APIRouter(tags=["jobs"], route_class=StrictRoute)
LOG_LIMIT = 5000
INDEX_MAX = 2**31 - 1


@router.post(
    "/packages/{package_id}/functions/{function_name}/execute",
    operation_id="execute_function",
    responses=problems(400, 409, 429, 507),
)
def execute_function(
    package_id: str, function_name: str, body: FunctionExecuteRequest, caller: PublishedCaller
) -> JobSubmitResponse:
    """Submit a job; its result is at `/jobs/{job_id}/result`."""
    request = TaskRequest(
        function=function_name,
        package_id=parse_id(package_id, "package"),
        inputs=body.payload or {},
        files=_upload_ids(body.file_inputs or {}),
    )
    with caller.accepting() as session:
        rules = caller.context.settings.queue_rules
        task = submit.submit(session, caller.actor, request, rules=rules, values=caller.values).task
    caller.context.hints(task.lane)
    return JobSubmitResponse(job_id=str(task.id), function_id=str(task.function_id), status=JobStatus.PENDING)


@router.get("/jobs", operation_id="list_jobs", responses=problems())
def list_jobs(caller: PublishedCaller, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> JobListResponse:
    """Your own jobs, newest first."""
    with caller.session() as session:
        views = read.list_page(session, caller.actor, TaskFilter(user_id=caller.actor.user_id), limit=limit)
    jobs = [
        JobSummary(
            job_id=str(view.task.id),
            function_id=str(view.task.function_id),
            function_name=view.function.name,
            status=job_status(view.task),
            error=_error(view.task),
            created_at=moment(view.task.created_at),
            started_at=optional_moment(view.task.started_at),
            completed_at=optional_moment(view.task.completed_at),
            duration_ms=duration_ms(view.task),
        )
        for view in views
    ]
    return JobListResponse(jobs=jobs, total=len(jobs))


@router.get("/jobs/{job_id}", operation_id="get_job_status", responses=problems())
def get_job_status(job_id: str, caller: PublishedCaller) -> JobStatusResponse:
    """How far a job is."""
    with caller.session() as session:
        view = read.get(session, caller.actor, parse_id(job_id, "task"))
    return JobStatusResponse(
        job_id=str(view.task.id),
        function_id=str(view.task.function_id),
        function_name=view.function.name,
        function_version=view.version.version,
        function_checksum=view.function.checksum,
        package_name=view.package.name,
        package_version=view.version.version,
        status=job_status(view.task),
        error=_error(view.task),
        started_at=optional_moment(view.task.started_at),
        completed_at=optional_moment(view.task.completed_at),
    )


@router.get(
    "/jobs/{job_id}/result", operation_id="get_job_result", response_model=JobResultResponse, responses=problems(409)
)
def get_job_result(job_id: str, caller: PublishedCaller) -> Response:
    """The end of a job; 409 while there is none."""
    with caller.session() as session:
        task = read.get_task(session, caller.actor, parse_id(job_id, "task"))
        artifacts = read.artifacts(session, caller.actor, task.id)
        values = values_of(session, task.id, row_bytes=caller.context.settings.row_value_bytes)
    state = TaskState(task.state)
    if not state.is_final:
        raise ConflictError("task_not_finished", f"The job is {job_status(task)}; its result comes when it has ended.")
    is_completed = state is TaskState.COMPLETED
    answer = JobResultResponse(
        job_id=str(task.id),
        function_id=str(task.function_id),
        status=JobStatus.COMPLETED if is_completed else JobStatus.FAILED,
        error=_error(task),
        duration_ms=duration_ms(task),
        memory_used_mb=None if task.peak_memory_mb is None else round(task.peak_memory_mb),
    )
    result = value_pieces(caller, task.id, "result", values.result) if is_completed else None
    spliced = {
        "result": _with_files(caller, result, artifacts) if is_completed else None,
        "inputs": value_pieces(caller, task.id, "inputs", values.inputs),
    }
    return respond({**answer.model_dump(mode="json"), **spliced})


@router.get("/jobs/{job_id}/logs", operation_id="get_job_logs", responses=problems())
def get_job_logs(
    job_id: str,
    caller: PublishedCaller,
    since: Annotated[int, Query(ge=0, le=INDEX_MAX, description="`next_index` of the answer before.")] = 0,
) -> JobLogsResponse:
    """Output of a job from an index on."""
    task_id = parse_id(job_id, "task")
    with caller.session() as session:
        page = read.logs(session, caller.actor, task_id, after=since, limit=LOG_LIMIT)
    entries = [
        JobLogChunk(kind=entry.kind, chunk=entry.text) for entry in page.entries if entry.kind in {"stdout", "stderr"}
    ]
    return JobLogsResponse(job_id=str(task_id), entries=entries, next_index=page.next, done=page.done)


@router.get("/jobs/{job_id}/artifacts", operation_id="list_job_artifacts", responses=problems())
def list_job_artifacts(job_id: str, caller: PublishedCaller) -> ArtifactList:
    """The files that a job left."""
    with caller.session() as session:
        task = read.get_task(session, caller.actor, parse_id(job_id, "task"))
        found = read.artifacts(session, caller.actor, task.id)
    return ArtifactList(artifacts=[render_artifact(item, caller.context.storage) for item in found])


def _upload_ids(files: dict[str, str]) -> dict[str, UUID]:
    found: dict[str, UUID] = {}
    mistakes: list[Problem] = []
    for port, text in files.items():
        try:
            found[port] = UUID(text)
        except ValueError:
            mistakes.append(
                Problem(f"file_inputs.{port}", "upload_not_found", "There is no such upload; upload the file again.")
            )
    if mistakes:
        raise InvalidInputError(
            "upload_not_found", "A file input names an upload that does not exist.", problems=mistakes
        )
    return found


def _error(task: Task) -> str | None:
    if task.error_code is None or not TaskState(task.state).is_final:
        return None
    return task.error_message or task.error_code


def _with_files(caller: Caller, result: Pieces | None, artifacts: Sequence[Artifact]) -> Pieces:
    """The outputs, and the files beside them: small ones inline as base64, all of them by address."""
    storage, inline_bytes = caller.context.storage, caller.context.settings.inline_output_bytes
    members: dict[str, Any] = {}
    files = [artifact for artifact in artifacts if artifact.kind == "file"]
    others = [artifact for artifact in artifacts if artifact.kind != "file"]
    if files:
        is_inline = sum(file.size_bytes for file in files) <= inline_bytes
        members["_output_files"] = {
            file.name: file_pieces(storage, file.key) if is_inline else _by_address(file, storage) for file in files
        }
    if others:
        members["_artifacts"] = {other.name: _by_address(other, storage) for other in others}
    return with_members(result or Pieces((b"{}",), is_large=False), members)


def _by_address(artifact: Artifact, storage: Storage) -> dict[str, Any]:
    shown = render_artifact(artifact, storage)
    return {"uri": shown.url, "filename": shown.filename, "size": shown.size_bytes, "sha256": shown.sha256}
