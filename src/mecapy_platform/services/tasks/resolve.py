"""Finds the function that a request names, among what the actor may run."""

from uuid import UUID

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.db.tables import Function, Organization, Package, PackageVersion, Task
from mecapy_platform.services.tasks.requests import TaskRequest

Resolved = tuple[Function, PackageVersion, Package]
PERSONAL = "user:"


def resolve(session: Session, actor: Actor, request: TaskRequest) -> Resolved:
    """The function, its version and its package. Without a version: the newest one that is not broken."""
    package = _package(session, actor, request)
    _check_package(actor, package)
    version = session.scalars(_versions(actor, package, request.version).limit(1)).first()
    if version is None:
        wanted = (
            f"version {request.version} of package {package.name}"
            if request.version
            else f"a usable version of package {package.name}"
        )
        raise NotFoundError("version_not_found", f"There is no {wanted}.")
    _check_version(package, version)
    function = session.scalars(
        select(Function).where(
            Function.package_version_id == version.id, Function.name == request.function, _own(actor, Function)
        )
    ).first()
    if function is None:
        raise NotFoundError(
            "function_not_found", f"Package {package.name} {version.version} has no function {request.function!r}."
        )
    return function, version, package


def resolve_again(session: Session, actor: Actor, task: Task) -> Resolved:
    """What a task ran, where it may still be run: the same gate as for a request that names it."""
    return resolve_function(session, actor, task.function_id)


def resolve_function(session: Session, actor: Actor, function_id: UUID | None) -> Resolved:
    """A function that was named before, where the actor may still run it."""
    found = session.execute(
        select(Function, PackageVersion, Package)
        .join(PackageVersion, PackageVersion.id == Function.package_version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .where(Function.id == function_id, _own(actor, Function))
    ).first()
    if found is None:
        raise NotFoundError("function_not_found", "The function is no longer there; deploy it again.")
    function, version, package = found
    _check_package(actor, package)
    _check_version(package, version)
    return function, version, package


def _check_package(actor: Actor, package: Package) -> None:
    if package.visibility == "private" and package.owner_id != actor.user_id:
        raise ForbiddenError(
            "package_private", f"Package {package.name} is private to its owner; ask them to make it internal."
        )
    if package.archived_at is not None:
        raise ConflictError(
            "package_archived", f"Package {package.name} is archived; its owner can bring it back with unarchive."
        )


def _check_version(package: Package, version: PackageVersion) -> None:
    if version.status == VersionStatus.ERROR:
        raise ConflictError(
            "version_broken", f"Version {version.version} of {package.name} did not build: {version.error_message}"
        )


def _package(session: Session, actor: Actor, request: TaskRequest) -> Package:
    query = select(Package).where(_own(actor, Package))
    if request.package_id is not None:
        query = query.where(Package.id == request.package_id)
    elif request.package:
        owner, _, name = request.package.rpartition("/")
        query = query.where(Package.name == name)
        if owner:
            query = query.join(Organization, Organization.id == Package.organization_id).where(
                Organization.slug.in_([owner, PERSONAL + owner])
            )
        else:
            query = query.order_by(
                (Package.organization_id == actor.organization.organization_id).desc(), Package.created_at
            )
    else:
        raise InvalidInputError("package_missing", 'Say which package: its name, or "owner/name".')
    package = session.scalars(query.limit(1)).first()
    if package is None:
        raise NotFoundError(
            "package_not_found", f"There is no package {request.package or request.package_id} that you can see."
        )
    return package


def _versions(actor: Actor, package: Package, version: str | None) -> Select[PackageVersion]:
    query = select(PackageVersion).where(PackageVersion.package_id == package.id, _own(actor, PackageVersion))
    if version is not None:
        return query.where(PackageVersion.version == version)
    return query.order_by((PackageVersion.status == VersionStatus.ERROR).asc(), PackageVersion.created_at.desc())


def _own(actor: Actor, table: type[Package | PackageVersion | Function]) -> ColumnElement[bool]:
    return table.organization_id.in_(actor.organization_ids)
