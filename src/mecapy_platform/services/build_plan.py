"""What crosses from the claim of a build to its stages: a plain record, read once, that no session stands behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self
from uuid import UUID

from mecapy_platform.core.manifest import RuntimeKind
from mecapy_platform.db.tables import Function, Organization, PackageVersion


@dataclass(frozen=True)
class PlannedFunction:
    """A function as it was deployed; `inputs` and `outputs` None: to be read from its handler's signature."""

    name: str
    handler: str | None = None
    entrypoint: Sequence[str] | None = None
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    free_inputs: bool = False
    cpu: int = 1
    memory_mb: int = 512
    timeout_seconds: float = 60.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, row: Function) -> Self:
        return cls(**{column.name: getattr(row, column.name) for column in fields(cls)})


@dataclass(frozen=True)
class BuildPlan:
    """A version to build, with all that its stages need to know without asking the database again."""

    token: UUID  # under which the build's end counts
    version_id: UUID
    organization_id: UUID
    archive_key: str
    archive_sha256: str
    runtime: str  # the declared interpreter, such as "3.12"
    manifest: Mapping[str, Any]
    functions: tuple[PlannedFunction, ...] = ()
    checks: Mapping[str, Any] = field(default_factory=dict)  # what the organization changed of the policy
    may_use_network: bool = False  # what the organization allows, not what the package asks for
    attempt: int = 1
    log: str = ""  # of the attempts before

    @classmethod
    def read(
        cls, token: UUID, version: PackageVersion, functions: Sequence[Function], organization: Organization
    ) -> Self:
        return cls(
            token=token,
            version_id=version.id,
            organization_id=version.organization_id,
            archive_key=version.archive_key,
            archive_sha256=version.archive_sha256,
            runtime=version.runtime,
            manifest=version.manifest,
            functions=tuple(PlannedFunction.read(row) for row in functions),
            checks=organization.checks,
            may_use_network=bool(organization.limits.get("build_network", False)),
            attempt=version.build_attempts,
            log=version.build_log,
        )

    @property
    def is_image(self) -> bool:
        """Whether the version brings an image (modes B and C) instead of handlers."""
        return bool(self.manifest["runtime"]["kind"] != RuntimeKind.PYTHON)
