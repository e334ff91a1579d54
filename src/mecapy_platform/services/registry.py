"""Finds packages and workflows by the names people write: `owner/name[:version]`.

The owner is an organization or a user.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.db.tables import Organization, Package, PackageVersion
from mecapy_platform.db.workflow_tables import Workflow, WorkflowVersion
from mecapy_platform.services.packages.read import may_see
from mecapy_platform.services.workflows import read as workflows
from mecapy_platform.services.workflows.visibility import may_see as may_see_workflow

PERSONAL = "user:"


@dataclass(frozen=True)
class Found:
    package_id: UUID
    name: str
    owner: str
    version: str


@dataclass(frozen=True)
class FoundWorkflow:
    workflow_id: UUID
    slug: str
    owner: str
    version: str


def lookup_package(session: Session, actor: Actor, *, owner: str, name: str, version: str | None) -> Found:
    query = (
        select(Package)
        .join(Organization, Organization.id == Package.organization_id)
        .where(
            Package.organization_id.in_(actor.organization_ids),
            Package.name == name,
            Organization.slug.in_([owner, PERSONAL + owner]),
        )
    )
    package = next((item for item in session.scalars(query) if may_see(actor, item)), None)
    if package is None:
        raise NotFoundError("package_not_found", "There is no such package.")
    versions = select(PackageVersion.version).where(PackageVersion.package_id == package.id)
    if version is not None:
        versions = versions.where(PackageVersion.version == version)
    found = session.scalars(
        versions.order_by((PackageVersion.status == "error").asc(), PackageVersion.created_at.desc()).limit(1)
    ).first()
    if found is None:
        raise NotFoundError("version_not_found", "There is no such version.")
    return Found(package.id, package.name, owner, found)


def lookup_workflow(session: Session, actor: Actor, *, owner: str, slug: str, version: str | None) -> FoundWorkflow:
    """One that has a version; without `version` the newest, which is answered as text."""
    query = (
        select(Workflow)
        .join(Organization, Organization.id == Workflow.organization_id)
        .where(
            Workflow.organization_id.in_(actor.organization_ids),
            Workflow.slug == slug,
            Organization.slug.in_([owner, PERSONAL + owner]),
        )
    )
    views = workflows.view_of(session, session.scalars(query).all())
    view = next((item for item in views if may_see_workflow(actor, item.workflow, item.visibility)), None)
    if view is None or view.latest is None:
        raise NotFoundError("workflow_not_found", "There is no such workflow, or it has no version yet.")
    number = view.latest.number if version is None else _number(version)
    known = select(WorkflowVersion.id).where(
        WorkflowVersion.workflow_id == view.workflow.id, WorkflowVersion.number == number
    )
    if session.scalar(known) is None:
        raise NotFoundError("version_not_found", "There is no such version.")
    return FoundWorkflow(view.workflow.id, view.workflow.slug, owner, str(number))


def _number(version: str) -> int:
    """Of a version as people write it; of what is no number, one that no version has."""
    return int(version) if version.isascii() and version.isdigit() and len(version) < 9 else 0
