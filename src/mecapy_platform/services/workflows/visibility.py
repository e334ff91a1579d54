"""Who may see a workflow: never declared, but what the packages say that its newest version uses."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from mecapy_platform.core.access import Actor
from mecapy_platform.db.tables import Function, Organization, Package, PackageVersion
from mecapy_platform.db.workflow_tables import Workflow, WorkflowVersion, WorkflowVersionUse

PRIVATE, INTERNAL, PUBLIC = "private", "internal", "public"


def latest_versions() -> Select[UUID, int]:
    """(workflow_id, number) of the newest version of each workflow."""
    numbers = func.max(WorkflowVersion.number).label("number")
    return select(WorkflowVersion.workflow_id, numbers).group_by(WorkflowVersion.workflow_id)


def effective(session: Session, version_ids: Iterable[UUID]) -> dict[UUID, str]:
    """`public` when every package used is public, `private` when one is private, else `internal@SLUG`.

    Private too: what uses no package, and what uses one that the caller cannot see.
    """
    used = (
        select(
            WorkflowVersionUse.workflow_version_id,
            func.bool_and(and_(Package.id.is_not(None), Package.visibility == PUBLIC)).label("is_public"),
            func.bool_or(or_(Package.id.is_(None), Package.visibility == PRIVATE)).label("is_private"),
            func.min(Organization.slug).filter(Package.visibility == INTERNAL).label("slug"),
        )
        .join(Function, Function.id == WorkflowVersionUse.function_id, isouter=True)
        .join(PackageVersion, PackageVersion.id == Function.package_version_id, isouter=True)
        .join(Package, Package.id == PackageVersion.package_id, isouter=True)
        .join(Organization, Organization.id == Package.organization_id, isouter=True)
        .where(
            WorkflowVersionUse.workflow_version_id.in_(list(version_ids)), WorkflowVersionUse.function_id.is_not(None)
        )
        .group_by(WorkflowVersionUse.workflow_version_id)
    )
    return {
        row.workflow_version_id: PRIVATE if row.is_private else PUBLIC if row.is_public else f"{INTERNAL}@{row.slug}"
        for row in session.execute(used)
    }


def is_shared() -> ColumnElement[bool]:
    """Of a workflow in a query: whether others than its owner may see it. As `effective`, for lists."""
    newer = aliased(WorkflowVersion)
    is_latest = ~exists().where(newer.workflow_id == WorkflowVersion.workflow_id, newer.number > WorkflowVersion.number)
    used = (
        exists()
        .where(WorkflowVersion.workflow_id == Workflow.id, is_latest)
        .where(
            WorkflowVersionUse.workflow_version_id == WorkflowVersion.id, WorkflowVersionUse.function_id.is_not(None)
        )
    )
    visible = (
        select(Package.id)
        .join(PackageVersion, PackageVersion.package_id == Package.id)
        .join(Function, Function.package_version_id == PackageVersion.id)
        .where(Function.id == WorkflowVersionUse.function_id, Package.visibility != PRIVATE)
        .exists()
    )
    return and_(used, ~used.where(~visible))


def may_see(actor: Actor, workflow: Workflow, visibility: str) -> bool:
    return workflow.owner_id == actor.user_id or visibility != PRIVATE


def shown(visibilities: Mapping[UUID, str], version_id: UUID | None) -> str:
    return PRIVATE if version_id is None else visibilities.get(version_id, PRIVATE)
