"""Accepts tasks: checks requests, hands what they make to the one insert. services/release decides what may go when."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as insert_row
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import ConflictError, InvalidInputError, MecapyError, Problem, QuotaExceededError
from mecapy_platform.core.ids import uuid7
from mecapy_platform.core.lanes import Lane, lane_for
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.states import TaskState, VersionStatus
from mecapy_platform.core.types import file_extensions
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.values import check_inputs
from mecapy_platform.db.tables import (
    Function,
    IdempotencyKey,
    LaneShare,
    Organization,
    PackageVersion,
    Task,
    Upload,
)
from mecapy_platform.db.values import COPY_INPUTS
from mecapy_platform.services.places import check_fits, needs_of
from mecapy_platform.services.tasks.inserting import insert
from mecapy_platform.services.tasks.read import TaskView, get_task
from mecapy_platform.services.tasks.requests import Submitted, TaskRequest, inputs_digest
from mecapy_platform.services.tasks.resolve import Resolved, resolve, resolve_again
from mecapy_platform.services.tasks.values import values_of
from mecapy_platform.services.values import ValueStore


class Submitter(Protocol):
    """Whose task it is."""

    @property
    def user_id(self) -> UUID: ...


@dataclass(frozen=True)
class _Looked:
    """What one call has looked up already, most requests of a bulk name the same function; where it keeps values."""

    values: ValueStore
    resolved: dict[tuple[object, ...], Resolved] = field(default_factory=dict)
    with_room: set[UUID] = field(default_factory=set)
    fitting: set[UUID] = field(default_factory=set)


@dataclass(frozen=True)
class _Accepted:
    """A task to insert."""

    id: UUID
    columns: Mapping[str, Any]
    resolved: Resolved


def submit(
    session: Session,
    actor: Actor,
    request: TaskRequest,
    *,
    rules: QueueRules,
    values: ValueStore,
    idempotency_key: str | None = None,
) -> Submitted:
    """Write one queued task.

    The same key with the same request answers the task that exists; with another one, ConflictError.
    """
    accepted = _accept(session, actor, request, idempotency_key, _Looked(values), rules)
    return accepted if isinstance(accepted, Submitted) else _write(session, actor, [accepted])[0]


def submit_many(
    session: Session,
    actor: Actor,
    requests: Sequence[tuple[TaskRequest, str | None]],
    *,
    rules: QueueRules,
    values: ValueStore,
) -> list[Submitted | MecapyError]:
    """Each request with its own verdict: one refused leaves the others as they are."""
    verdicts: dict[int, Submitted | MecapyError] = {}
    waiting: dict[int, _Accepted] = {}  # many rows go in one statement
    looked = _Looked(values)

    def write() -> None:
        verdicts.update(zip(waiting, _write(session, actor, list(waiting.values())), strict=True))
        waiting.clear()

    for place, (request, key) in enumerate(requests):
        if key is not None:
            write()  # in the order of the call, and before a later one that has the same key looks for it
        try:
            with session.begin_nested() if key is not None or request.files else nullcontext():
                accepted = _accept(session, actor, request, key, looked, rules)
        except MecapyError as error:
            verdicts[place] = error
            continue
        if isinstance(accepted, Submitted):
            verdicts[place] = accepted
            continue
        waiting[place] = accepted
        if key is not None:
            write()
    write()
    return [verdicts[place] for place in range(len(requests))]


def retry(session: Session, actor: Actor, task_id: UUID, *, rules: QueueRules, values: ValueStore) -> Task:
    """A new task with the version and inputs of an ended one, through the same gate as any other request.

    Large inputs are shared, not read: they were checked before the old task could begin.
    """
    old = get_task(session, actor, task_id, stays=True)
    require_submit(actor, old.organization_id)
    if not TaskState(old.state).is_final:
        raise ConflictError("task_not_finished", "The task has not ended; cancel it first, or wait.")
    resolved = resolve_again(session, actor, old)
    check_queue(session, old.organization_id, rules)
    check_fits(session, resolved[0], resolved[1])
    inputs = values_of(session, old.id, row_bytes=values.row_bytes).inputs
    if inputs.is_large:
        _check_was_looked_at(old, resolved[1])
    again = TaskRequest(
        resolved[0].name,
        inputs=json.loads(inputs.text or "{}"),
        priority=old.priority,
        timeout_seconds=old.timeout_seconds,
        name=old.name,
    )
    columns = columns_of(actor, again, resolved, old.files, shared=old if inputs.is_large else None)
    accepted = _Accepted(_next_id(), {**columns, "retry_of": old.id}, resolved)
    task = _write(session, actor, [accepted])[0].task
    if inputs.row_bytes is not None:
        session.execute(COPY_INPUTS, {"source": old.id, "task_id": task.id})
    return task


def _check_was_looked_at(old: Task, version: PackageVersion) -> None:
    """Ports that are read from a signature are known when the version is built, and inputs are checked then."""
    if old.started_at is None and (version.built_at is None or old.created_at < version.built_at):
        raise ConflictError(
            "inputs_not_checked",
            "The task was stopped before its large inputs were checked; submit it again, with its inputs.",
        )


def _accept(
    session: Session,
    actor: Actor,
    request: TaskRequest,
    idempotency_key: str | None,
    looked: _Looked,
    rules: QueueRules,
) -> _Accepted | Submitted:
    """The task that a request makes, or the one that its key has made before."""
    named = (request.package, request.package_id, request.version, request.function)
    resolved = looked.resolved.get(named) or looked.resolved.setdefault(named, resolve(session, actor, request))
    organization_id = resolved[2].organization_id
    require_submit(actor, organization_id)
    task_id = _next_id()
    if idempotency_key is not None:
        existing = _claim_key(session, actor, organization_id, idempotency_key, request.digest(), task_id)
        if existing is not None:
            return Submitted(existing, replayed=True)
    if organization_id not in looked.with_room:
        check_queue(session, organization_id, rules)
        looked.with_room.add(organization_id)
    if resolved[0].id not in looked.fitting:
        check_fits(session, resolved[0], resolved[1])
        looked.fitting.add(resolved[0].id)
    files = _files(session, actor, resolved[0], request)
    columns = columns_of(actor, request, resolved, files)
    value_id = looked.values.keep(organization_id, columns["inputs"])
    if value_id is not None:
        columns |= {"inputs": None, "inputs_ref": value_id}
    return _Accepted(task_id, columns, resolved)


def _write(session: Session, actor: Actor, accepted: Sequence[_Accepted]) -> list[Submitted]:
    rows = insert(session, [(task.id, task.columns) for task in accepted])
    return [Submitted(rows[task.id], view=_view(session, actor, rows[task.id], task.resolved)) for task in accepted]


def _next_id() -> UUID:
    return uuid7(time.time_ns() // 1_000_000)


def columns_of(
    actor: Submitter, request: TaskRequest, resolved: Resolved, files: dict[str, Any], *, shared: Task | None = None
) -> dict[str, Any]:
    """A new task's columns, with its inputs checked and converted. Looks at nothing but what it is given.

    `shared`: a task whose inputs it takes as they are.
    """
    function, version, package = resolved
    timeout_seconds = _timeout(function, request)
    _check_extensions(function, files)
    lane = lane_for(timeout_seconds, function.p95_seconds, function.completed_runs)
    inputs = _inputs(function, request, files) if shared is None else {}
    is_ready = version.status == VersionStatus.READY
    return {
        "organization_id": package.organization_id,
        "user_id": actor.user_id,
        "function_id": function.id,
        "package_version_id": version.id,
        "name": request.name or f"{package.name}:{function.name}",
        "lane": lane,
        "priority": request.priority,
        "rank": 0 if lane is Lane.HIGH_PRIORITY else 9 - request.priority,
        "hold_reason": None if is_ready else "building",
        "inputs": inputs if shared is None else None,
        "inputs_ref": None if shared is None else shared.inputs_ref,
        "files": files,
        "inputs_digest": inputs_digest(inputs, files) if shared is None else shared.inputs_digest,
        "cpu": function.cpu,
        "memory_mb": function.memory_mb,
        "needs": sorted(needs_of(function, version).abilities),
        "timeout_seconds": timeout_seconds,
        "retries": function.options.get("retries") or {},
        "package_digest": version.archive_sha256,
        "environment_digest": version.environment_digest,
        "interpreter": version.interpreter,
        "retry_of": None,
    }


def _inputs(function: Function, request: TaskRequest, files: Mapping[str, Any]) -> dict[str, Any]:
    if function.inputs is None:
        return dict(request.inputs)
    units = function.options.get("units") or UnitSystem.SI
    return check_inputs(function.inputs, request.inputs, files, free=function.free_inputs, units=units)


def _view(session: Session, actor: Actor, task: Task, resolved: Resolved) -> TaskView:
    function, version, package = resolved
    owner = next((item.slug for item in actor.visible if item.organization_id == package.organization_id), None)
    return TaskView(
        task, function, version, package, owner or session.get_one(Organization, package.organization_id).slug
    )


def _claim_key(
    session: Session, actor: Actor, organization_id: UUID, key: str, digest: str, task_id: UUID
) -> Task | None:
    """Take the key for a new task, or return the task that already has it."""
    taken = session.execute(
        insert_row(IdempotencyKey)
        .values(organization_id=organization_id, user_id=actor.user_id, key=key, body_digest=digest, task_id=task_id)
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.task_id)
    ).first()
    if taken is not None:
        return None
    found = session.get_one(IdempotencyKey, (organization_id, actor.user_id, key))
    if found.body_digest != digest:
        raise ConflictError(
            "idempotency_conflict", "This Idempotency-Key was used with another request; use a new key for a new task."
        )
    return get_task(session, actor, found.task_id)


def check_queue(session: Session, organization_id: UUID, rules: QueueRules) -> None:
    """Refuse above the limit on queued tasks.

    The count is the sweep's, a few seconds old, so a burst may pass it a little.
    """
    queued = session.scalar(select(func.sum(LaneShare.queued)).where(LaneShare.organization_id == organization_id)) or 0
    if queued >= rules.organization_max_queued:
        raise QuotaExceededError(
            "queue_full",
            f"{queued} tasks of your organization are waiting, the limit is {rules.organization_max_queued}; wait "
            f"or cancel some.",
        )


def _files(session: Session, actor: Actor, function: Function, request: TaskRequest) -> dict[str, Any]:
    if not request.files:
        return {}
    query = select(Upload).where(
        Upload.id.in_(list(request.files.values())),
        Upload.user_id == actor.user_id,
        Upload.organization_id == function.organization_id,
    )
    uploads = {upload.id: upload for upload in session.scalars(query)}
    missing = [
        Problem(
            f"files.{port}", "upload_not_found", "There is no such upload, or it has expired; upload the file again."
        )
        for port, upload_id in request.files.items()
        if upload_id not in uploads
    ]
    if missing:
        raise InvalidInputError(
            "upload_not_found", "A file input names an upload that does not exist.", problems=missing
        )
    for upload in uploads.values():
        upload.is_used = True
    names = ("key", "filename", "extension", "size_bytes", "sha256")
    return {
        port: {"upload_id": str(upload_id), **{name: getattr(uploads[upload_id], name) for name in names}}
        for port, upload_id in request.files.items()
    }


def _check_extensions(function: Function, files: Mapping[str, Any]) -> None:
    problems = []
    for port, file in files.items():
        allowed = file_extensions(str((function.inputs or {}).get(port, {}).get("type", "")))
        if allowed and file["extension"] not in allowed:
            message = f"{file['filename']} should end in {', '.join('.' + item for item in sorted(allowed))}."
            problems.append(Problem(f"files.{port}", "file_extension_refused", message))
    if problems:
        raise InvalidInputError(
            "file_extension_refused", "A file has an extension that its port does not take.", problems=problems
        )


def _timeout(function: Function, request: TaskRequest) -> float:
    if request.timeout_seconds is None:
        return function.timeout_seconds
    if request.timeout_seconds > function.timeout_seconds:
        message = (
            f"The function allows {function.timeout_seconds:g} s; ask for that or less, or declare more in its "
            f"manifest."
        )
        raise InvalidInputError(
            "timeout_too_long", message, problems=[Problem("timeout_seconds", "timeout_too_long", message)]
        )
    return request.timeout_seconds
