"""Makes, archives and deletes workflows."""

import re
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import ConflictError, InvalidInputError, NotFoundError, Problem
from mecapy_platform.core.workflows.states import RUN_FINAL, STUDY_FINAL
from mecapy_platform.db.errors import RowConflictError, translated
from mecapy_platform.db.tables import Organization
from mecapy_platform.db.workflow_tables import (
    Call,
    Study,
    Workflow,
    WorkflowRun,
    WorkflowVersion,
    WorkflowVersionUse,
)
from mecapy_platform.services.workflows.read import WorkflowView, find_to_change, view_of

SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True)
class NewWorkflow:
    organization_id: UUID
    slug: str
    name: str
    description: str | None = None


def create(session: Session, actor: Actor, new: NewWorkflow) -> WorkflowView:
    """An empty workflow, owned by the caller. Raises ConflictError "workflow_exists"."""
    if session.get(Organization, new.organization_id) is None:
        raise NotFoundError("organization_not_found", "There is no such organization.")
    require_submit(actor, new.organization_id)
    if not SLUG.match(new.slug) or _is_id(new.slug):
        message = (
            "A slug has letters, digits, dots, hyphens and underscores, begins with a letter or digit, and is no id."
        )
        raise InvalidInputError("bad_slug", message, problems=[Problem("slug", "bad_slug", message)])
    workflow = Workflow(
        organization_id=new.organization_id,
        owner_id=actor.user_id,
        slug=new.slug,
        name=new.name,
        description=new.description,
    )
    try:
        with translated(), session.begin_nested():
            session.add(workflow)
    except RowConflictError as error:
        raise ConflictError(
            "workflow_exists", f"There is a workflow {new.slug} of this owner already; choose another slug."
        ) from error
    return view_of(session, [workflow])[0]


def archive(session: Session, actor: Actor, slug: str) -> WorkflowView:
    """Hide it from lists; no new versions and no new runs. A second time changes nothing."""
    view = find_to_change(session, actor, slug, locked=True)
    if view.workflow.archived_at is None:
        view.workflow.archived_at = func.now()
        _changed(session, view.workflow)
    return view


def unarchive(session: Session, actor: Actor, slug: str) -> WorkflowView:
    view = find_to_change(session, actor, slug, locked=True)
    if view.workflow.archived_at is not None:
        view.workflow.archived_at = None
        _changed(session, view.workflow)
    return view


def remove(session: Session, actor: Actor, slug: str) -> WorkflowView:
    """Delete an archived workflow with its versions and runs.

    Raises
    ------
    ConflictError
        "not_archived", "qa_tracked_runs_exist", "workflow_in_use" by other workflows or studies,
        "workflow_runs_live".
    """
    view = find_to_change(session, actor, slug, locked=True)
    workflow = view.workflow
    if workflow.archived_at is None:
        raise ConflictError(
            "not_archived", f"Workflow {workflow.slug} is not archived; archive it before you delete it."
        )
    own = WorkflowRun.workflow_id == workflow.id
    _refuse(
        session,
        select(WorkflowRun.id).where(own, WorkflowRun.qa_tracked_at.is_not(None)),
        "qa_tracked_runs_exist",
        f"Runs of {workflow.slug} are tracked for quality; take that back before you delete it.",
    )
    _refuse_used(session, workflow)
    _refuse(
        session,
        select(WorkflowRun.id).where(own, WorkflowRun.state.not_in(RUN_FINAL)),
        "workflow_runs_live",
        f"Runs of {workflow.slug} have not ended; cancel them, or wait.",
    )
    runs = select(WorkflowRun.id).where(own)
    below = select(WorkflowRun.id).where(or_(own, WorkflowRun.root_run_id.in_(runs)))
    session.execute(delete(Call).where(Call.run_id.in_(below)), execution_options={"synchronize_session": False})
    session.execute(
        delete(WorkflowRun).where(WorkflowRun.id.in_(below)), execution_options={"synchronize_session": False}
    )
    session.delete(workflow)
    session.flush()
    return view


def _refuse_used(session: Session, workflow: Workflow) -> None:
    versions = select(WorkflowVersion.id).where(WorkflowVersion.workflow_id == workflow.id)
    _refuse(
        session,
        select(WorkflowVersionUse.id).where(WorkflowVersionUse.used_version_id.in_(versions)),
        "workflow_in_use",
        f"Other workflows use {workflow.slug} as a node; delete those first.",
    )
    _refuse(
        session,
        select(Study.id).where(Study.workflow_version_id.in_(versions), Study.state.not_in(STUDY_FINAL)),
        "workflow_in_use",
        f"A study of {workflow.slug} has not ended; cancel it, or wait.",
    )


def _refuse(session: Session, query: Select[UUID], code: str, message: str) -> None:
    if session.scalar(query.limit(1)) is not None:
        raise ConflictError(code, message)


def _changed(session: Session, workflow: Workflow) -> None:
    workflow.updated_at = func.now()
    session.flush()
    session.refresh(workflow)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
