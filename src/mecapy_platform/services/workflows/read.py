"""Looks at workflows, for those who may: private ones are their owner's, the others their organization's."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, defer

from mecapy_platform.core.access import Actor, Role
from mecapy_platform.core.errors import ForbiddenError, NotFoundError
from mecapy_platform.db.tables import Organization
from mecapy_platform.db.workflow_tables import Workflow, WorkflowVersion
from mecapy_platform.services.workflows.visibility import effective, is_shared, latest_versions, may_see, shown

LIGHT = (defer(WorkflowVersion.graph), defer(WorkflowVersion.document))  # read where it is asked for


@dataclass(frozen=True)
class WorkflowView:
    """A workflow with its newest version, whose graph is not read here. `organization` is None for a personal one."""

    workflow: Workflow
    latest: WorkflowVersion | None
    organization: Organization | None
    visibility: str


@dataclass(frozen=True)
class WorkflowPage:
    views: Sequence[WorkflowView]
    total: int


def find(session: Session, actor: Actor, slug: str) -> WorkflowView:
    """By slug or id, for one who may see it.

    Raises NotFoundError "workflow_not_found", and ForbiddenError "workflow_private" inside its organization.
    """
    view = _view(session, actor, slug)
    if not may_see(actor, view.workflow, view.visibility):
        raise ForbiddenError(
            "workflow_private",
            f"Workflow {view.workflow.slug} is private to its owner, for a package that it uses is, or it uses none.",
        )
    return view


def find_to_change(session: Session, actor: Actor, slug: str, *, locked: bool = False) -> WorkflowView:
    """For its owner or an administrator of its organization. `locked`: nobody else changes it meanwhile."""
    view = _view(session, actor, slug)
    if not _may_change(actor, view.workflow):
        find(session, actor, slug)
        raise ForbiddenError(
            "owner_needed", "Only the workflow's owner or an administrator of its organization may do this."
        )
    if actor.role_in(view.workflow.organization_id) is Role.VIEWER:
        raise ForbiddenError(
            "viewer_may_not_submit",
            "A viewer may look but not start, stop or deploy; ask an administrator of the organization.",
        )
    if not locked:
        return view
    session.refresh(view.workflow, with_for_update=True)
    return view_of(session, [view.workflow])[0]


def list_page(session: Session, actor: Actor, *, limit: int, include_archived: bool) -> WorkflowPage:
    """What the caller may see, the last changed first; archived ones for their owner alone, when asked for."""
    wanted = _listed(actor, include_archived=include_archived)
    total = session.scalar(select(func.count()).select_from(Workflow).where(wanted)) or 0
    rows = session.scalars(
        select(Workflow).where(wanted).order_by(Workflow.updated_at.desc(), Workflow.id.desc()).limit(limit)
    ).all()
    return WorkflowPage(view_of(session, rows), total)


def view_of(session: Session, workflows: Sequence[Workflow]) -> list[WorkflowView]:
    """Of workflows that the caller has been let through to, in their order."""
    newest = latest_versions().where(WorkflowVersion.workflow_id.in_([item.id for item in workflows])).subquery()
    query = select(WorkflowVersion).join(
        newest,
        and_(newest.c.workflow_id == WorkflowVersion.workflow_id, newest.c.number == WorkflowVersion.number),
    )
    latest = {version.workflow_id: version for version in session.scalars(query.options(*LIGHT))}
    visibilities = effective(session, [version.id for version in latest.values()])
    ids = {workflow.organization_id for workflow in workflows}
    rows = session.scalars(select(Organization).where(Organization.id.in_(ids)))
    organizations = {row.id: row for row in rows if not row.is_personal}
    views = []
    for workflow in workflows:
        version = latest.get(workflow.id)
        visibility = shown(visibilities, None if version is None else version.id)
        views.append(WorkflowView(workflow, version, organizations.get(workflow.organization_id), visibility))
    return views


def graph_json(session: Session, version_id: UUID) -> dict[str, Any]:
    """The graph of a version as it was stored, for one who has been let through to it."""
    found: dict[str, Any] = session.scalars(select(WorkflowVersion.graph).where(WorkflowVersion.id == version_id)).one()
    return found


def document_text(session: Session, version_id: UUID) -> str | None:
    """The YAML that a version was saved with, for one who has been let through to it."""
    return session.scalars(select(WorkflowVersion.document).where(WorkflowVersion.id == version_id)).one()


def visibility_of(session: Session, version_id: UUID) -> str:
    return shown(effective(session, [version_id]), version_id)


def versions(session: Session, workflow_id: UUID) -> Sequence[WorkflowVersion]:
    """All versions, newest first, without their graphs."""
    query = select(WorkflowVersion).where(WorkflowVersion.workflow_id == workflow_id)
    return session.scalars(query.order_by(WorkflowVersion.number.desc()).options(*LIGHT)).all()


def version(session: Session, actor: Actor, view: WorkflowView, number: int) -> WorkflowVersion:
    """A version of a workflow that the caller may see; an older one may use what is private still."""
    workflow_id = view.workflow.id
    query = select(WorkflowVersion).where(WorkflowVersion.workflow_id == workflow_id, WorkflowVersion.number == number)
    found = session.scalars(query.options(*LIGHT)).first()
    if found is None:
        raise NotFoundError("version_not_found", "There is no such version.")
    if not may_see(actor, view.workflow, visibility_of(session, found.id)):
        raise ForbiddenError(
            "workflow_private", f"Version {number} of {view.workflow.slug} uses a private package; use a newer version."
        )
    return found


def _view(session: Session, actor: Actor, slug: str) -> WorkflowView:
    """By id, else by slug: one's own before others', those of the present organization before those of others."""
    mine = Workflow.organization_id.in_(actor.organization_ids)
    workflow = None
    with suppress(ValueError):
        workflow = session.scalars(select(Workflow).where(Workflow.id == UUID(slug), mine)).first()
    if workflow is None:
        query = select(Workflow).where(Workflow.slug == slug, mine)
        is_own, is_here = (
            Workflow.owner_id == actor.user_id,
            Workflow.organization_id == actor.organization.organization_id,
        )
        workflow = session.scalars(
            query.order_by(is_own.desc(), is_here.desc(), Workflow.created_at, Workflow.id).limit(1)
        ).first()
    if workflow is None:
        raise NotFoundError("workflow_not_found", "There is no such workflow.")
    return view_of(session, [workflow])[0]


def _listed(actor: Actor, *, include_archived: bool) -> ColumnElement[bool]:
    own = Workflow.owner_id == actor.user_id
    is_active = Workflow.archived_at.is_(None)
    return and_(
        Workflow.organization_id.in_(actor.organization_ids),
        or_(own, is_shared()),
        or_(is_active, own) if include_archived else is_active,
    )


def _may_change(actor: Actor, workflow: Workflow) -> bool:
    return workflow.owner_id == actor.user_id or actor.role_in(workflow.organization_id) is Role.ADMIN
