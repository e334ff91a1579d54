"""Renders rows in the published shapes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from mecapy_platform.api.published.models import (
    FunctionIoSpec,
    FunctionVersionDetailResponse,
    FunctionVersionInfo,
    JobStatus,
    PackageDeployResponse,
    PackageResponse,
    PackageStatus,
    PackageVisibility,
    TypedPortInfo,
    VersionAnswer,
)
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.core.states import PUBLISHED_STATUS, TaskState, VersionStatus
from mecapy_platform.core.types import parse_type, without_units
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.db.tables import Function, PackageVersion, Task
from mecapy_platform.services.packages.deploy import Deployed
from mecapy_platform.services.packages.read import PackageView

STATUS = {
    VersionStatus.BUILDING: PackageStatus.DEPLOYING,
    VersionStatus.READY: PackageStatus.READY,
    VersionStatus.ERROR: PackageStatus.ERROR,
}


def parse_id(text: str, what: str) -> UUID:
    """Published ids are strings; one that cannot be an id is absent."""
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFoundError(f"{what}_not_found", f"There is no such {what}.") from error


def moment(value: datetime) -> str:
    return value.isoformat()


def optional_moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def job_status(task: Task) -> JobStatus:
    return JobStatus(PUBLISHED_STATUS[TaskState(task.state)])


def duration_ms(task: Task) -> int | None:
    return None if task.runtime_seconds is None else round(task.runtime_seconds * 1000)


def render_package(view: PackageView) -> PackageResponse:
    package, version = view.package, view.version
    info: dict[str, Any] = version.manifest.get("package") or {}
    return PackageResponse(
        id=str(package.id),
        name=package.name,
        description=info.get("description"),
        version=version.version,
        status=STATUS[VersionStatus(version.status)],
        git_url=version.source.get("url"),
        git_ref=version.source.get("ref"),
        git_commit_sha=version.source.get("commit"),
        author=info.get("author"),
        license=info.get("license"),
        tags=info.get("tags") or None,
        visibility=PackageVisibility(package.visibility),
        organization_id=str(view.organization.id) if view.organization else None,
        organization_slug=view.organization.slug if view.organization else None,
        is_archived=package.archived_at is not None,
        archived_at=optional_moment(package.archived_at),
        yanked_at=optional_moment(package.yanked_at),
        functions=[render_function(function, version) for function in view.functions],
        created_at=moment(package.created_at),
        updated_at=moment(package.updated_at),
        owner_id=str(package.owner_id),
    )


def render_function(function: Function, version: PackageVersion) -> FunctionVersionInfo:
    runtime = version.manifest.get("runtime") or {}
    return FunctionVersionInfo(
        id=str(function.id),
        name=function.name,
        description=function.description,
        version=version.version,
        handler=function.handler,
        entrypoint=function.entrypoint,
        dockerfile=runtime.get("dockerfile"),
        image_ref=runtime.get("image"),
        checksum=function.checksum,
        status=STATUS[VersionStatus(version.status)],
        created_at=moment(function.created_at),
        io_spec=_io_spec(function),
        units=function.options.get("units") or UnitSystem.SI,
    )


def render_function_detail(view: PackageView, function: Function) -> FunctionVersionDetailResponse:
    return FunctionVersionDetailResponse(
        **render_function(function, view.version).model_dump(),
        package_id=str(view.package.id),
        package_name=view.package.name,
        runtime=f"python{view.version.runtime.replace('.', '')}"
        if view.version.runtime[:1].isdigit()
        else view.version.runtime,
        memory_mb=function.memory_mb,
        timeout=max(1, round(function.timeout_seconds)),
    )


def render_version(version: PackageVersion) -> VersionAnswer:
    return VersionAnswer(
        id=str(version.id),
        version=version.version,
        status=version.status,
        created_at=moment(version.created_at),
        yanked_at=None,
        build_log=version.build_log,
        report=_short(version.report),
    )


def _short(report: dict[str, Any]) -> dict[str, Any]:
    """Without the findings of the checks, which have a path of their own: a list of versions stays small."""
    checks = report.get("checks")
    if checks is None:
        return report
    return {**report, "checks": {name: checks[name] for name in ("checks", "files", "seconds") if name in checks}}


def render_deployment(view: PackageView, deployed: Deployed) -> PackageDeployResponse:
    """What the build said goes into `validation_results`, beside the verdicts of the test cases."""
    version = view.version
    results: dict[str, Any] = {"status": version.status, "log": version.build_log, **version.report}
    if version.error_code:
        results["error"] = {"code": version.error_code, "message": version.error_message}
    cases = version.report.get("validation_testcases") or {}
    return PackageDeployResponse(
        package=render_package(view),
        functions_deployed=deployed.functions_deployed,
        functions_updated=deployed.functions_updated,
        functions_unchanged=0,
        validation_results=results,
        deployment_qualified=version.status == VersionStatus.READY and not cases.get("failed"),
    )


def _io_spec(function: Function) -> FunctionIoSpec | None:
    if function.inputs is None or function.outputs is None:
        return None
    return FunctionIoSpec(inputs=_ports(function.inputs), outputs=_ports(function.outputs))


def _ports(ports: dict[str, Any]) -> dict[str, TypedPortInfo]:
    return {name: _port(port) for name, port in ports.items()}


def _port(port: dict[str, Any]) -> TypedPortInfo:
    declared = str(port["type"])
    shown = str(without_units(parse_type(declared))) if "Float[" in declared else declared
    return TypedPortInfo(
        type=shown,
        description=port.get("description"),
        required=bool(port.get("required", True)),
        declared_type=declared if shown != declared else None,
    )
