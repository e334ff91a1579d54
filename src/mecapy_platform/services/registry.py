"""Finds packages by the names people write: `owner/name[:version]`, where the owner is an organization or a user."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.db.tables import Organization, Package, PackageVersion
from mecapy_platform.services.packages.read import may_see

PERSONAL = "user:"


@dataclass(frozen=True)
class Found:
    package_id: UUID
    name: str
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
