"""Marks runs that belong to a dossier of quality: their rows and files are kept from every clean-up."""

from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, Role, require_submit
from mecapy_platform.core.errors import ConflictError, ForbiddenError
from mecapy_platform.db.workflow_tables import WorkflowRun
from mecapy_platform.services.runs.acts import find


def require_own(actor: Actor, run: WorkflowRun) -> None:
    """On published paths a run is its user's, and the administrators'."""
    if run.user_id != actor.user_id and actor.role_in(run.organization_id) is not Role.ADMIN:
        raise ForbiddenError("run_of_another", "Only the run's user and administrators may do this.")


def track(session: Session, actor: Actor, run_id: UUID) -> None:
    """A second time changes nothing: who did it first, and when, stays."""
    run = _own(session, actor, run_id)
    if run.qa_tracked_at is None:
        run.qa_tracked_at, run.qa_tracked_by = func.clock_timestamp(), actor.user_id
        session.flush()


def untrack(session: Session, actor: Actor, run_id: UUID) -> None:
    run = _own(session, actor, run_id)
    run.qa_tracked_at = run.qa_tracked_by = None
    session.flush()


def _own(session: Session, actor: Actor, run_id: UUID) -> WorkflowRun:
    run = find(session, actor, run_id, is_locked=True)
    require_own(actor, run)
    require_submit(actor, run.organization_id)
    if run.parent_call_id is not None:
        raise ConflictError("run_is_inner", "This run is part of another one, which is tracked as a whole.")
    return run
