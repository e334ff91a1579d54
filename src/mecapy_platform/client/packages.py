"""Packages: find, list, deploy, follow the build."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mecapy_platform.client.records import build
from mecapy_platform.client.transport import Call, Transport
from mecapy_platform.core.errors import InvalidInputError, NotFoundError

PAGE = 100
DEPLOY_SECONDS = 300.0


@dataclass(frozen=True)
class Port:
    """An input or output of a function and its type expression."""

    name: str
    type: str
    description: str | None = None
    required: bool = True


@dataclass(frozen=True)
class Function:
    """A function of a package version."""

    id: str
    name: str
    version: str
    description: str | None = None
    handler: str | None = None
    status: str = ""
    units: str = "SI"  # the unit system of its numbers
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        spec = data.get("io_spec") or {}
        return build(cls, data, inputs=_ports(spec.get("inputs")), outputs=_ports(spec.get("outputs")))


@dataclass(frozen=True)
class Package:
    """A package as the platform describes it; its functions are those of the newest version."""

    id: str
    name: str
    version: str
    status: str
    description: str | None = None
    visibility: str = "private"
    organization_slug: str | None = None
    is_archived: bool = False
    yanked_at: str | None = None
    functions: tuple[Function, ...] = ()
    created_at: str | None = None
    updated_at: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data, functions=tuple(Function.from_json(item) for item in data.get("functions") or ()))


@dataclass(frozen=True)
class PackageVersion:
    """One immutable version; `report` holds the verdict of its test cases."""

    id: str
    version: str
    status: str
    created_at: str | None = None
    yanked_at: str | None = None
    build_log: str | None = None
    report: Mapping[str, Any] | None = None

    @property
    def is_building(self) -> bool:
        return self.status in {"building", "deploying", "pending", "updating"}


@dataclass(frozen=True)
class Deployment:
    """The platform's answer to a deployment."""

    package: Package
    functions_deployed: int = 0
    functions_updated: int = 0
    functions_unchanged: int = 0
    validation_results: Mapping[str, Any] | None = None
    deployment_qualified: bool = True
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data, package=Package.from_json(data["package"]), raw=data)


class Packages:
    """Calls about packages."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self, *, include_archived: bool = False) -> tuple[Package, ...]:
        """Every package the caller may see."""
        found: list[Package] = []
        page = 1
        while True:
            answer = self._transport.get("/packages", page=page, per_page=PAGE, include_archived=include_archived)
            members = [Package.from_json(item) for item in answer["packages"]]
            found += members
            if len(members) < PAGE or len(found) >= int(answer["total"]):
                return tuple(found)
            page += 1

    def get(self, package_id: str) -> Package:
        return Package.from_json(self._transport.get(f"/packages/{package_id}"))

    def find(self, reference: str) -> Package:
        """A package by `name` or `owner/name`; NotFoundError when the caller sees none of that name."""
        if "/" in reference:
            owner, _, name = reference.partition("/")
            answer = self._transport.get("/registry/lookup/package", owner=owner, name=name)
            return self.get(str(answer["package_id"]))
        organization = self._transport.organization
        named = [item for item in self.all() if item.name == reference]
        mine = [item for item in named if organization is None or item.organization_slug == organization]
        if not mine:
            raise NotFoundError(
                "package_not_found", f"No package '{reference}' here. See what there is: mecapy packages"
            )
        if len(mine) > 1:
            owners = ", ".join(sorted(item.organization_slug or "yourself" for item in mine))
            raise InvalidInputError(
                "package_ambiguous",
                f"'{reference}' exists more than once ({owners}). Name the owner: OWNER/{reference}",
            )
        return mine[0]

    def function_version(self, function_id: str) -> Function:
        """A function exactly as one package version declares it."""
        return Function.from_json(self._transport.get(f"/function-versions/{function_id}"))

    def versions(self, package_id: str) -> tuple[PackageVersion, ...]:
        answer = self._transport.get(f"/packages/{package_id}/versions")
        return tuple(build(PackageVersion, item) for item in answer["versions"])

    def deploy(self, archive: Path, *, package_id: str | None = None) -> Deployment:
        """Upload a zip as a new package, or as a new version of `package_id`. Waits up to a minute for the build."""
        path = f"/packages/{package_id}/versions/from-zip" if package_id else "/packages/from-zip"
        organization = self._transport.organization
        params = {"organization_slug": organization} if organization and not package_id else {}
        with archive.open("rb") as stream:
            files = {"file": (archive.name, stream, "application/zip")}
            call = Call(
                "POST",
                path,
                params,
                fields={"deploy_strategy": "all"},
                files=files,
                repeatable=False,
                read_seconds=DEPLOY_SECONDS,
            )
            return Deployment.from_json(self._transport.json(call))


def _ports(spec: Mapping[str, Any] | None) -> tuple[Port, ...]:
    return tuple(_port(name, port) for name, port in (spec or {}).items())


def _port(name: str, port: Mapping[str, Any]) -> Port:
    kind = str(port.get("declared_type") or port.get("type", ""))
    return Port(name, kind, port.get("description"), bool(port.get("required", True)))
