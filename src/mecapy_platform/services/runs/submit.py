"""Accepts runs: checks inputs, writes the run, and starts what can start, all in the transaction of the submit."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert as insert_row
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import ConflictError, InvalidInputError, NotFoundError
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.workflows.graph import MAX_NESTING
from mecapy_platform.core.workflows.plan import plan_snapshot
from mecapy_platform.db import runs as statements
from mecapy_platform.db.tables import IdempotencyKey
from mecapy_platform.db.workflow_tables import WorkflowRun
from mecapy_platform.services.runs.advance import advance
from mecapy_platform.services.runs.inputs import checked_inputs, keep_uploads
from mecapy_platform.services.runs.loading import LoadedVersion, bodies_of, load_functions, load_version
from mecapy_platform.services.runs.making import NewRun, make
from mecapy_platform.services.runs.requests import POLICIES, REUSE, RunOptions, RunRequest
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.tasks.submit import check_queue

KEY_PREFIX = "run:"  # keys of runs and of tasks are told apart


@dataclass(frozen=True)
class SubmittedRun:
    """`lanes`: to be hinted after the commit. `is_replayed`: the key had made it before."""

    run_id: UUID
    lanes: frozenset[Lane] = frozenset()
    is_replayed: bool = False


def submit(
    session: Session,
    actor: Actor,
    request: RunRequest,
    *,
    tools: Tools,
    idempotency_key: str | None = None,
) -> SubmittedRun:
    """Start a run of a version that the actor may see.

    The same key with the same request answers the run that exists; with another one, ConflictError. Raises
    MissingInputsError, InvalidInputError "inputs_invalid", "options_invalid", QuotaExceededError "queue_full".
    """
    version = load_version(session, request.workflow_version_id)
    require_submit(actor, version.organization_id)
    check_options(request.options)
    run_id = new_id()
    if idempotency_key is not None:
        existing = _claim_key(session, actor, version.organization_id, idempotency_key, request.digest(), run_id)
        if existing is not None:
            return SubmittedRun(existing, is_replayed=True)
    check_queue(session, version.organization_id, tools.rules)
    checked_inputs(session, version, request.inputs, actor.user_id)
    specs = {node.key: node.input for node in version.graph.nodes.values() if node.input is not None}
    keep_uploads(session, request.inputs, specs)
    new = NewRun(
        organization_id=version.organization_id,
        user_id=actor.user_id,
        version=version,
        inputs=request.inputs,
        options=request.options,
        plan=plan_snapshot(version.graph, _package_versions(session, version)),
        visibility=request.visibility,
        rerun_of=request.rerun_of,
    )
    make(session, new, tools.values, run_id)
    if not sees_all(session, version):
        session.execute(statements.MARK_RUN, {"run_id": run_id})
        return SubmittedRun(run_id)
    return SubmittedRun(run_id, frozenset(advance(session, run_id, tools).lanes))


def sees_all(session: Session, version: LoadedVersion, depth: int = 0) -> bool:
    """Whether all that a version may start lies in the scope of this transaction; else the platform starts it."""
    bodies = {body for node in version.graph.nodes.values() for body in bodies_of(node)}
    functions = functions_of(version)
    if functions - load_functions(session, functions).keys():
        return False
    inner = {body.workflow_version_id for body in bodies if body.workflow_version_id is not None}
    try:
        return depth > MAX_NESTING or all(sees_all(session, load_version(session, item), depth + 1) for item in inner)
    except NotFoundError:
        return False


def _package_versions(session: Session, version: LoadedVersion) -> dict[UUID, UUID]:
    found = load_functions(session, functions_of(version))
    return {function_id: loaded.version.id for function_id, loaded in found.items()}


def functions_of(version: LoadedVersion) -> set[UUID]:
    """That a version names itself."""
    bodies = (body for node in version.graph.nodes.values() for body in bodies_of(node))
    return {body.function_version_id for body in bodies if body.function_version_id is not None}


def check_options(options: RunOptions) -> None:
    """Raises InvalidInputError "options_invalid"."""
    wrong = None
    if options.failure_policy not in POLICIES:
        wrong = f"failure_policy is one of {', '.join(POLICIES)}."
    elif options.reuse not in REUSE:
        wrong = f"reuse is one of {', '.join(REUSE)}."
    elif not 0 <= options.priority <= 9:
        wrong = "priority lies between 0 and 9; 9 comes first."
    elif options.deadline_seconds is not None and not 0 < options.deadline_seconds <= 366 * 86_400:
        wrong = "deadline_seconds lies above 0 and below a year."
    if wrong is not None:
        raise InvalidInputError("options_invalid", wrong)


def _claim_key(
    session: Session, actor: Actor, organization_id: UUID, key: str, digest: str, run_id: UUID
) -> UUID | None:
    """Take the key for a new run, or return the run that already has it."""
    owner = {"organization_id": organization_id, "user_id": actor.user_id, "key": KEY_PREFIX + key}
    taken = session.execute(
        insert_row(IdempotencyKey)
        .values(**owner, body_digest=digest, task_id=run_id)
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.task_id)
    ).first()
    if taken is not None:
        return None
    found = session.get_one(IdempotencyKey, (organization_id, actor.user_id, KEY_PREFIX + key))
    if found.body_digest != digest:
        raise ConflictError(
            "idempotency_conflict", "This Idempotency-Key was used with another request; use a new key for a new run."
        )
    return session.get_one(WorkflowRun, found.task_id).id
