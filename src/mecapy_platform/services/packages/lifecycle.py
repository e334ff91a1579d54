"""Changes of a package that is there: visibility, archive, yank. Versions themselves never change."""

from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import ConflictError, InvalidInputError, MalformedError, Problem
from mecapy_platform.db.tables import Organization, Package
from mecapy_platform.services.packages.read import PRIVATE, PackageView, find_to_change, view_of


def set_visibility(session: Session, actor: Actor, package_id: UUID, visibility: str) -> PackageView:
    package = _own(session, actor, package_id)
    check_visibility(session.get_one(Organization, package.organization_id), visibility)
    package.visibility = visibility
    return _changed(session, package)


def archive(session: Session, actor: Actor, package_id: UUID) -> PackageView:
    package = _own(session, actor, package_id)
    if package.archived_at is not None:
        raise ConflictError("already_archived", f"Package {package.name} is archived already.")
    package.archived_at = func.now()
    return _changed(session, package)


def unarchive(session: Session, actor: Actor, package_id: UUID) -> PackageView:
    package = _own(session, actor, package_id)
    if package.archived_at is None:
        raise ConflictError("not_archived", f"Package {package.name} is not archived.")
    package.archived_at = None
    return _changed(session, package)


def yank(session: Session, actor: Actor, package_id: UUID) -> PackageView:
    """Hide from lists; what names it goes on working. A second time changes nothing."""
    package = _own(session, actor, package_id)
    if package.visibility == PRIVATE:
        raise MalformedError(
            "yank_private", "A private package is in no list of others, so it cannot be yanked; archive it instead."
        )
    if package.yanked_at is None:
        package.yanked_at = func.now()
    return _changed(session, package)


def unyank(session: Session, actor: Actor, package_id: UUID) -> PackageView:
    package = _own(session, actor, package_id)
    package.yanked_at = None
    return _changed(session, package)


def check_visibility(organization: Organization, visibility: str) -> None:
    if visibility == "internal" and organization.is_personal:
        message = "`internal` means the members of an organization; a personal package is `private` or `public`."
        raise InvalidInputError(
            "internal_needs_organization",
            message,
            problems=[Problem("visibility", "internal_needs_organization", message)],
        )


def _own(session: Session, actor: Actor, package_id: UUID) -> Package:
    package = find_to_change(session, actor, package_id)
    session.refresh(package, with_for_update=True)
    return package


def _changed(session: Session, package: Package) -> PackageView:
    package.updated_at = func.now()
    session.flush()
    session.refresh(package)
    return view_of(session, package)
