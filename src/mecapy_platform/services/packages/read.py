"""Looks at packages, for those who may: private ones are their owner's, the others their organization's."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, Role
from mecapy_platform.core.errors import ForbiddenError, NotFoundError
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.db.tables import Function, Organization, Package, PackageVersion

PRIVATE = "private"


@dataclass(frozen=True)
class PackageView:
    """A package with one of its versions and the functions of that version.

    `organization` is None for a personal package.
    """

    package: Package
    version: PackageVersion
    functions: Sequence[Function]
    organization: Organization | None


@dataclass(frozen=True)
class PackagePage:
    views: Sequence[PackageView]
    total: int


@dataclass(frozen=True)
class PackageFilter:
    include_archived: bool = False
    include_yanked: bool = False
    visibility: str | None = None


def may_see(actor: Actor, package: Package) -> bool:
    """Private is the owner's own; an archived one is hidden from everybody else."""
    return package.owner_id == actor.user_id or (package.visibility != PRIVATE and package.archived_at is None)


def find(session: Session, actor: Actor, package_id: UUID) -> Package:
    """The row, for one who may see it.

    Inside the organization a private package answers 403, elsewhere everything is absent.
    """
    package = _row(session, actor, package_id)
    if package.archived_at is not None and package.owner_id != actor.user_id:
        raise _absent()
    if not may_see(actor, package):
        raise ForbiddenError(
            "package_private", f"Package {package.name} is private to its owner; ask them to make it internal."
        )
    return package


def find_to_change(session: Session, actor: Actor, package_id: UUID) -> Package:
    """The row, for its owner or an administrator of its organization.

    They may change what they are not shown in lists.
    """
    package = _row(session, actor, package_id)
    if not _may_change(actor, package):
        find(session, actor, package_id)
    require_owner(actor, package)
    return package


def require_owner(actor: Actor, package: Package) -> None:
    if not _may_change(actor, package):
        raise ForbiddenError(
            "owner_needed", "Only the package's owner or an administrator of its organization may do this."
        )
    if actor.role_in(package.organization_id) is Role.VIEWER:
        raise ForbiddenError(
            "viewer_may_not_deploy", "A viewer may look but not change; ask an administrator of the organization."
        )


def get(session: Session, actor: Actor, package_id: UUID) -> PackageView:
    """The package with its newest version that is not broken, or the newest one when all are."""
    return view_of(session, find(session, actor, package_id))


def get_version(session: Session, actor: Actor, version_id: UUID) -> PackageView:
    version = session.get(PackageVersion, version_id)
    if version is None:
        raise NotFoundError("version_not_found", "There is no such version.")
    return view_of(session, find(session, actor, version.package_id), version)


def get_function(session: Session, actor: Actor, function_id: UUID) -> tuple[PackageView, Function]:
    query = select(Function).where(Function.id == function_id, Function.organization_id.in_(actor.organization_ids))
    function = session.scalars(query).first()
    if function is None:
        raise NotFoundError("function_not_found", "There is no such function.")
    return get_version(session, actor, function.package_version_id), function


def function_of(view: PackageView, name: str) -> Function:
    function = next((item for item in view.functions if item.name == name), None)
    if function is None:
        raise NotFoundError(
            "function_not_found", f"Package {view.package.name} {view.version.version} has no function {name!r}."
        )
    return function


def versions(session: Session, actor: Actor, package_id: UUID) -> list[PackageVersion]:
    """All versions, newest first."""
    find(session, actor, package_id)
    query = select(PackageVersion).where(PackageVersion.package_id == package_id)
    return list(session.scalars(query.order_by(PackageVersion.created_at.desc(), PackageVersion.id.desc())))


def list_page(session: Session, actor: Actor, narrowed: PackageFilter, *, page: int, per_page: int) -> PackagePage:
    """What the caller may see, by name; archived and yanked ones only for their owner, when asked for."""
    wanted = _listed(actor, narrowed)
    total = session.scalar(select(func.count()).select_from(Package).where(wanted)) or 0
    query = (
        select(Package).where(wanted).order_by(Package.name, Package.id).limit(per_page).offset((page - 1) * per_page)
    )
    return PackagePage([view_of(session, package) for package in session.scalars(query)], total)


def _listed(actor: Actor, narrowed: PackageFilter) -> ColumnElement[bool]:
    own = Package.owner_id == actor.user_id
    conditions = [Package.organization_id.in_(actor.organization_ids), or_(own, Package.visibility != PRIVATE)]
    conditions.append(
        or_(Package.archived_at.is_(None), own) if narrowed.include_archived else Package.archived_at.is_(None)
    )
    conditions.append(or_(Package.yanked_at.is_(None), own) if narrowed.include_yanked else Package.yanked_at.is_(None))
    if narrowed.visibility is not None:
        conditions.append(Package.visibility == narrowed.visibility)
    return and_(*conditions)


def view_of(session: Session, package: Package, version: PackageVersion | None = None) -> PackageView:
    """A package that the caller has been let through to."""
    if version is None:
        query = select(PackageVersion).where(PackageVersion.package_id == package.id)
        is_broken = PackageVersion.status == VersionStatus.ERROR
        version = session.scalars(query.order_by(is_broken.asc(), PackageVersion.created_at.desc()).limit(1)).one()
    functions = session.scalars(
        select(Function).where(Function.package_version_id == version.id).order_by(Function.name)
    ).all()
    organization = session.get_one(Organization, package.organization_id)
    return PackageView(package, version, functions, None if organization.is_personal else organization)


def _row(session: Session, actor: Actor, package_id: UUID) -> Package:
    package = session.scalars(
        select(Package).where(Package.id == package_id, Package.organization_id.in_(actor.organization_ids))
    ).first()
    if package is None:
        raise _absent()
    return package


def _absent() -> NotFoundError:
    return NotFoundError("package_not_found", "There is no such package.")


def _may_change(actor: Actor, package: Package) -> bool:
    return package.owner_id == actor.user_id or actor.role_in(package.organization_id) is Role.ADMIN
