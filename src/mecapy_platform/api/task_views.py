"""Renders tasks: rows in, answers out."""

from collections.abc import Mapping, Sequence
from typing import Any

from mecapy_platform.api.task_models import (
    ArtifactAnswer,
    AttemptAnswer,
    Fault,
    LimitsAnswer,
    LogAnswer,
    LogEntry,
    PackageRef,
    Provenance,
    TaskAnswer,
    UsageAnswer,
)
from mecapy_platform.db.tables import Artifact, Attempt, Task
from mecapy_platform.services.tasks.read import LogPage, TaskView, WaitReason
from mecapy_platform.storage.base import Storage

URL_SECONDS = 15 * 60


def render_task(
    view: TaskView,
    *,
    attempts: Sequence[Attempt] = (),
    waiting: WaitReason | None = None,
    files: Mapping[str, Any] | None = None,
) -> TaskAnswer:
    """`files` where the answer is to hold them; its inputs and its result are put in as they lie, see api/spliced."""
    task = view.task
    return TaskAnswer(
        id=task.id,
        name=task.name,
        state=task.state,
        lane=task.lane,
        priority=task.priority,
        package=PackageRef(
            id=view.package.id,
            name=view.package.name,
            version=view.version.version,
            owner=view.owner.removeprefix("user:"),
        ),
        function=view.function.name,
        version_id=task.package_version_id,
        function_id=task.function_id,
        inputs=None,
        files=None if files is None else _files(files),
        created_at=task.created_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
        cancel_requested_at=task.cancel_requested_at,
        progress=task.progress,
        error=render_error(task),
        usage=render_usage(task),
        limits=LimitsAnswer(cpu=task.cpu, memory_mb=task.memory_mb, timeout_seconds=task.timeout_seconds),
        attempts=[_attempt(attempt) for attempt in attempts],
        waiting=Fault(code=waiting.code, message=waiting.message) if waiting else None,
        retry_of=task.retry_of,
        parked=task.parked,
        provenance=Provenance(
            package_digest=task.package_digest,
            environment_digest=task.environment_digest,
            interpreter=task.interpreter,
            inputs_digest=task.inputs_digest,
            submitted_by=task.user_id,
        ),
    )


def render_error(row: Task | Attempt) -> Fault | None:
    return Fault(code=row.error_code, message=row.error_message or "") if row.error_code else None


def render_usage(task: Task) -> UsageAnswer | None:
    if task.runtime_seconds is None:
        return None
    return UsageAnswer(
        wall_seconds=task.runtime_seconds, cpu_seconds=task.cpu_seconds, peak_memory_mb=task.peak_memory_mb
    )


def render_artifact(artifact: Artifact, storage: Storage) -> ArtifactAnswer:
    return ArtifactAnswer(
        name=artifact.name,
        kind=artifact.kind,
        filename=artifact.filename,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        partial=artifact.is_partial,
        attempt=artifact.attempt,
        url=storage.signed_url(artifact.key, filename=artifact.filename, expires_seconds=URL_SECONDS),
    )


def render_logs(page: LogPage) -> LogAnswer:
    entries = [
        LogEntry(
            index=entry.index, attempt=entry.attempt, kind=entry.kind, text=entry.text, created_at=entry.created_at
        )
        for entry in page.entries
    ]
    return LogAnswer(entries=entries, next=page.next, done=page.done)


def _files(files: Mapping[str, Any]) -> dict[str, Any]:
    return {port: {name: value for name, value in file.items() if name != "key"} for port, file in files.items()}


def _attempt(attempt: Attempt) -> AttemptAnswer:
    usage = None
    if attempt.wall_seconds is not None:
        usage = UsageAnswer(
            wall_seconds=attempt.wall_seconds, cpu_seconds=attempt.cpu_seconds, peak_memory_mb=attempt.peak_memory_mb
        )
    return AttemptAnswer(
        number=attempt.number,
        state=attempt.state or "running",
        node=attempt.node,
        backend=attempt.backend,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        error=render_error(attempt),
        usage=usage,
    )
