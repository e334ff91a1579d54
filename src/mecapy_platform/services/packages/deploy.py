"""Deploys a version: checks it against what is there, then writes package, version and functions in one transaction."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_submit
from mecapy_platform.core.errors import ConflictError, InvalidInputError, NotFoundError, Problem
from mecapy_platform.core.events import VersionDeployed
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.manifest import Manifest, RuntimeKind
from mecapy_platform.core.placement import IMAGE
from mecapy_platform.core.semver import SemVer
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.db.tables import Function, Organization, Package, PackageVersion
from mecapy_platform.services.events import record
from mecapy_platform.services.packages.lifecycle import check_visibility
from mecapy_platform.services.packages.read import find, require_owner
from mecapy_platform.storage import keys

LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


@dataclass(frozen=True)
class NewFunction:
    """A function as its manifest declares it; ports None where the signature is to be read."""

    name: str
    description: str | None
    handler: str | None
    entrypoint: Sequence[str] | None
    inputs: Mapping[str, Any] | None
    outputs: Mapping[str, Any] | None
    cpu: int
    memory_mb: int
    timeout_seconds: float
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NewVersion:
    """A parsed manifest beside the digest of its archive."""

    name: str
    version: str
    visibility: str
    runtime: str
    manifest: Mapping[str, Any]
    functions: Sequence[NewFunction]
    archive_sha256: str


@dataclass(frozen=True)
class Target:
    """Where a version goes, decided before the archive is stored: ids of the rows to come."""

    organization_id: UUID
    package_id: UUID
    version_id: UUID
    is_new_package: bool

    @property
    def archive_key(self) -> str:
        return keys.package_key(self.organization_id, self.package_id, self.version_id)


@dataclass(frozen=True)
class Deployed:
    version: PackageVersion
    functions_deployed: int
    functions_updated: int


def from_manifest(manifest: Manifest, archive_sha256: str, *, runs_images: bool = False) -> NewVersion:
    """What is stored of a manifest. `runs_images`: this platform has workers for Dockerfiles and images."""
    is_image = manifest.runtime.kind is not RuntimeKind.PYTHON
    if is_image and not runs_images:
        message = (
            f"This platform runs `kind: python`, not `{manifest.runtime.kind}`: none of its workers runs containers."
        )
        raise InvalidInputError(
            "runtime_unsupported", message, problems=[Problem("runtime.kind", "runtime_unsupported", message)]
        )
    functions = [
        NewFunction(
            name=function.name,
            description=function.description,
            handler=function.handler,
            entrypoint=function.entrypoint,
            inputs=function.inputs,
            outputs=function.outputs,
            cpu=function.resources.cpu,
            memory_mb=function.resources.memory_mb,
            timeout_seconds=function.resources.timeout_seconds,
            options=_needing_containers(function.options) if is_image else function.options,
        )
        for function in manifest.functions.values()
    ]
    package = manifest.package
    version = manifest.runtime.version or manifest.runtime.kind
    return NewVersion(
        package.name, package.version, package.visibility, version, manifest.as_dict(), functions, archive_sha256
    )


def _needing_containers(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """A task of an image goes only to platforms where a node has what runs it, and says so at submit."""
    return {**options, "needs": [*options.get("needs", ()), IMAGE]}


def tier_cap(session: Session, actor: Actor, organization_id: UUID, package_id: UUID | None, *, default: str) -> str:
    """The cap on resources of the organization that will own the version."""
    if package_id is not None:
        organization_id = find(session, actor, package_id).organization_id
    return str(_organization(session, organization_id).limits.get("tier_cap", default))


def narrow_to(new: NewVersion, names: Sequence[str]) -> NewVersion:
    """Only the named functions; every name must be one of the manifest's."""
    known = {function.name for function in new.functions}
    problems = [
        Problem(f"functions.{name}", "unknown_function", f"The manifest declares no function {name!r}.")
        for name in names
        if name not in known
    ]
    if problems or not names:
        raise InvalidInputError(
            "unknown_function", "The selection names functions that the manifest does not declare.", problems=problems
        )
    kept = [function for function in new.functions if function.name in set(names)]
    return NewVersion(new.name, new.version, new.visibility, new.runtime, new.manifest, kept, new.archive_sha256)


def plan(session: Session, actor: Actor, new: NewVersion, *, organization_id: UUID, package_id: UUID | None) -> Target:
    """Check that this version may be deployed here. Nothing is written; `insert` checks again."""
    package = _package(session, actor, new, organization_id, package_id)
    organization = organization_id if package is None else package.organization_id
    require_submit(actor, organization)
    if package is None:
        check_visibility(_organization(session, organization), new.visibility)
        return Target(organization, new_id(), new_id(), is_new_package=True)
    require_owner(actor, package)
    _check_version(session, package, new.version)
    return Target(organization, package.id, new_id(), is_new_package=False)


def insert(session: Session, actor: Actor, new: NewVersion, target: Target) -> Deployed:
    """Insert everything. Of two at once with one version, the second waits here and gets ConflictError."""
    session.execute(LOCK, {"name": f"deploy:{target.organization_id}:{new.name}"})
    package = _named(session, target.organization_id, new.name)
    if package is None:
        if not target.is_new_package:
            raise NotFoundError("package_not_found", "There is no such package.")
        package = Package(
            id=target.package_id,
            organization_id=target.organization_id,
            owner_id=actor.user_id,
            name=new.name,
            visibility=new.visibility,
        )
        session.add(package)
        session.flush()
    require_owner(actor, package)
    _check_version(session, package, new.version)
    _set_aside_failed(session, package, new.version)
    previous = _function_names(session, package)
    version = _insert(session, actor, package, new, target)
    package.updated_at = func.now()
    record(session, VersionDeployed(version.id), package.organization_id)
    session.flush()
    return Deployed(version, len(new.functions), sum(function.name in previous for function in new.functions))


def _organization(session: Session, organization_id: UUID) -> Organization:
    organization = session.get(Organization, organization_id)
    if organization is None:
        raise NotFoundError("organization_not_found", "There is no such organization.")
    return organization


def _package(
    session: Session, actor: Actor, new: NewVersion, organization_id: UUID, package_id: UUID | None
) -> Package | None:
    if package_id is None:
        return _named(session, organization_id, new.name)
    package = find(session, actor, package_id)
    require_owner(actor, package)
    if package.name != new.name:
        raise ConflictError(
            "name_differs", f"The manifest names the package {new.name!r}, but this one is {package.name!r}."
        )
    return package


def _named(session: Session, organization_id: UUID, name: str) -> Package | None:
    return session.scalars(
        select(Package).where(Package.organization_id == organization_id, Package.name == name)
    ).first()


def _check_version(session: Session, package: Package, version: str) -> None:
    """A version that did not build was never deployed: its number is free, and it stands in nobody's way."""
    deployed = session.scalars(
        select(PackageVersion.version).where(
            PackageVersion.package_id == package.id, PackageVersion.status != VersionStatus.ERROR
        )
    ).all()
    if version in deployed:
        raise ConflictError(
            "version_exists",
            f"Version {version} of {package.name} is deployed already and never changes; raise the version.",
        )
    greatest = max(deployed, key=SemVer.parse, default=None)
    if greatest is not None and SemVer.parse(version) <= SemVer.parse(greatest):
        raise ConflictError(
            "version_not_greater", f"Version {version} is not greater than the deployed {greatest}; raise the version."
        )


def _set_aside_failed(session: Session, package: Package, version: str) -> None:
    """Give a version that did not build another name, `1.2.0+failed.1`: its log and its ended tasks are kept."""
    of_package = PackageVersion.package_id == package.id
    versions = set(session.scalars(select(PackageVersion.version).where(of_package)))
    if version not in versions:
        return
    mark = "." if "+" in version else "+"
    number = next(number for number in count(1) if f"{version}{mark}failed.{number}" not in versions)
    of_version = update(PackageVersion).where(of_package, PackageVersion.version == version)
    session.execute(of_version.values(version=f"{version}{mark}failed.{number}"))


def _function_names(session: Session, package: Package) -> set[str]:
    last = (
        select(PackageVersion.id)
        .where(PackageVersion.package_id == package.id)
        .order_by(PackageVersion.created_at.desc())
        .limit(1)
    )
    return set(session.scalars(select(Function.name).where(Function.package_version_id == last.scalar_subquery())))


def _insert(session: Session, actor: Actor, package: Package, new: NewVersion, target: Target) -> PackageVersion:
    version = PackageVersion(
        id=target.version_id,
        organization_id=package.organization_id,
        package_id=package.id,
        version=new.version,
        manifest=dict(new.manifest),
        archive_key=target.archive_key,
        archive_sha256=new.archive_sha256,
        created_by=actor.user_id,
        status=VersionStatus.BUILDING,
        runtime=new.runtime,
    )
    session.add(version)
    session.flush()
    for function in new.functions:
        session.add(
            Function(
                organization_id=package.organization_id,
                package_version_id=version.id,
                name=function.name,
                description=function.description,
                handler=function.handler,
                entrypoint=list(function.entrypoint) if function.entrypoint is not None else None,
                inputs=dict(function.inputs) if function.inputs is not None else None,
                outputs=dict(function.outputs) if function.outputs is not None else None,
                cpu=function.cpu,
                memory_mb=function.memory_mb,
                timeout_seconds=function.timeout_seconds,
                options=dict(function.options),
                checksum=_checksum(new, function),
            )
        )
    return version


def _checksum(new: NewVersion, function: NewFunction) -> str:
    declared = json.dumps(asdict(function), sort_keys=True, default=str)
    return hashlib.sha256(f"{new.archive_sha256}\n{declared}".encode()).hexdigest()
