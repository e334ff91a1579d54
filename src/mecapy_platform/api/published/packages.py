"""Published paths about packages: look, deploy, hide."""

from typing import Annotated, BinaryIO
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, UploadFile
from starlette.concurrency import run_in_threadpool

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, OptionalCaller, PublishedCaller
from mecapy_platform.api.digests import sha256_of
from mecapy_platform.api.published.models import (
    FunctionVersionDetailResponse,
    PackageDeployResponse,
    PackageListResponse,
    PackageResponse,
    PackageVisibility,
    PackageVisibilityUpdate,
    VersionList,
)
from mecapy_platform.api.published.views import (
    parse_id,
    render_deployment,
    render_function_detail,
    render_package,
    render_version,
)
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.api.waiting import wait_until
from mecapy_platform.core import requirements
from mecapy_platform.core.errors import InvalidInputError, MalformedError, TooLargeError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.manifest import parse_manifest
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.services.backends import chosen
from mecapy_platform.services.packages import deploy, lifecycle, read
from mecapy_platform.services.packages.deploy import Deployed, NewVersion
from mecapy_platform.services.packages.read import PackageFilter, PackageView
from mecapy_platform.storage.archives import opened_package, read_manifest
from mecapy_platform.storage.base import try_delete

router = APIRouter(tags=["packages"], route_class=StrictRoute)
Strategy = Annotated[
    str, Form(pattern="^(all|selective)$", description="`selective` deploys the functions named in `functions` alone.")
]
Names = Annotated[str | None, Form(max_length=20_000, description="Names of functions, separated by commas.")]
Slug = Annotated[
    str | None, Query(max_length=100, description="The organization that owns the package; yourself when left out.")
]
DEPLOY_PROBLEMS = problems(400, 409, 507)


@router.get("/packages", operation_id="list_packages", responses=problems())
def list_packages(
    caller: OptionalCaller,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 20,
    include_archived: Annotated[bool, Query(description="Your own archived packages too.")] = False,
    include_yanked: Annotated[bool, Query(description="Your own yanked packages too.")] = False,
    visibility: Annotated[PackageVisibility | None, Query()] = None,
) -> PackageListResponse:
    """The packages that you may see, by name. Without a token there are none."""
    if caller is None:
        return PackageListResponse(packages=[], total=0)
    narrowed = PackageFilter(include_archived, include_yanked, visibility)
    with caller.session() as session:
        found = read.list_page(session, caller.actor, narrowed, page=page, per_page=per_page)
    return PackageListResponse(packages=[render_package(view) for view in found.views], total=found.total)


@router.post("/packages/from-zip", operation_id="deploy_package_from_zip", responses=DEPLOY_PROBLEMS)
async def deploy_package_from_zip(
    caller: PublishedCaller,
    file: Annotated[UploadFile, File(description="A zip with mecapy.yml at its root or in one top folder.")],
    organization_slug: Slug = None,
    deploy_strategy: Strategy = "all",
    functions: Names = None,
) -> PackageDeployResponse:
    """Deploy a package, or a new version of one. Waits up to a minute for its build."""
    organization_id = caller.organization_id(organization_slug)
    names = _names(deploy_strategy, functions)
    deployed = await _deploy(caller, file.file, names, organization_id, None)
    return await _built(caller, deployed)


@router.post(
    "/packages/{package_id}/versions/from-zip", operation_id="deploy_version_from_zip", responses=DEPLOY_PROBLEMS
)
async def deploy_version_from_zip(
    package_id: str,
    caller: PublishedCaller,
    file: Annotated[UploadFile, File(description="A zip with mecapy.yml at its root or in one top folder.")],
    deploy_strategy: Strategy = "all",
    functions: Names = None,
) -> PackageDeployResponse:
    """Deploy a new version of this package; its name must be the same and its version greater."""
    package = parse_id(package_id, "package")
    names = _names(deploy_strategy, functions)
    deployed = await _deploy(caller, file.file, names, caller.organization_id(None), package)
    return await _built(caller, deployed)


@router.get("/packages/{package_id}", operation_id="get_package", responses=problems())
def get_package(package_id: str, caller: PublishedCaller) -> PackageResponse:
    """A package with its newest usable version."""
    with caller.session() as session:
        view = read.get(session, caller.actor, parse_id(package_id, "package"))
    return render_package(view)


@router.get("/packages/{package_id}/versions", operation_id="list_package_versions", responses=problems())
def list_package_versions(package_id: str, caller: PublishedCaller) -> VersionList:
    """Every version of a package, newest first, with what its build said."""
    with caller.session() as session:
        versions = read.versions(session, caller.actor, parse_id(package_id, "package"))
    return VersionList(versions=[render_version(version) for version in versions])


@router.patch("/packages/{package_id}/visibility", operation_id="update_package_visibility", responses=problems())
def update_package_visibility(
    package_id: str, body: PackageVisibilityUpdate, caller: PublishedCaller
) -> PackageResponse:
    """Say who may see a package."""
    with caller.session() as session:
        view = lifecycle.set_visibility(session, caller.actor, parse_id(package_id, "package"), body.visibility)
    return render_package(view)


@router.post("/packages/{package_id}/archive", operation_id="archive_package", responses=problems(409))
def archive_package(package_id: str, caller: PublishedCaller) -> PackageResponse:
    """Hide a package from everybody but its owner; nothing is deleted."""
    with caller.session() as session:
        view = lifecycle.archive(session, caller.actor, parse_id(package_id, "package"))
    return render_package(view)


@router.post("/packages/{package_id}/unarchive", operation_id="unarchive_package", responses=problems(409))
def unarchive_package(package_id: str, caller: PublishedCaller) -> PackageResponse:
    """Bring an archived package back."""
    with caller.session() as session:
        view = lifecycle.unarchive(session, caller.actor, parse_id(package_id, "package"))
    return render_package(view)


@router.post("/packages/{package_id}/yank", operation_id="yank_package", responses=problems(400))
def yank_package(package_id: str, caller: PublishedCaller) -> PackageResponse:
    """Take a package out of lists; what names it goes on working."""
    with caller.session() as session:
        view = lifecycle.yank(session, caller.actor, parse_id(package_id, "package"))
    return render_package(view)


@router.post("/packages/{package_id}/unyank", operation_id="unyank_package", responses=problems())
def unyank_package(package_id: str, caller: PublishedCaller) -> PackageResponse:
    """Show a yanked package in lists again."""
    with caller.session() as session:
        view = lifecycle.unyank(session, caller.actor, parse_id(package_id, "package"))
    return render_package(view)


@router.get(
    "/function-versions/{function_version_id}",
    operation_id="get_function_version",
    tags=["function-versions"],
    responses=problems(),
)
def get_function_version(function_version_id: str, caller: PublishedCaller) -> FunctionVersionDetailResponse:
    """A function exactly as one version declares it."""
    with caller.session() as session:
        view, function = read.get_function(session, caller.actor, parse_id(function_version_id, "function"))
    return render_function_detail(view, function)


def _names(strategy: str, functions: str | None) -> list[str] | None:
    if strategy == "all":
        return None
    return [name.strip() for name in (functions or "").split(",") if name.strip()]


async def _deploy(
    caller: Caller, file: BinaryIO, names: list[str] | None, organization_id: UUID, package_id: UUID | None
) -> Deployed:
    """Read and check the archive, store it, write the rows. No session is open while bytes move."""
    tier_cap = await run_in_threadpool(_tier_cap, caller, organization_id, package_id)
    async with caller.context.readers:
        settings = caller.context.settings
        runs_images = chosen(settings).images is not None
        new = await run_in_threadpool(_read, file, settings.archive_bytes, tier_cap, runs_images=runs_images)
    if names is not None:
        new = deploy.narrow_to(new, names)
    return await run_in_threadpool(_store, caller, file, new, organization_id, package_id)


def _tier_cap(caller: Caller, organization_id: UUID, package_id: UUID | None) -> str:
    with caller.session() as session:
        return deploy.tier_cap(
            session, caller.actor, organization_id, package_id, default=caller.context.settings.tier_cap
        )


def _store(caller: Caller, file: BinaryIO, new: NewVersion, organization_id: UUID, package_id: UUID | None) -> Deployed:
    with caller.session() as session:
        target = deploy.plan(session, caller.actor, new, organization_id=organization_id, package_id=package_id)
    storage = caller.context.storage
    file.seek(0)
    storage.put(target.archive_key, file)
    try:
        with caller.session() as session:
            deployed = deploy.insert(session, caller.actor, new, target)
    except BaseException:
        try_delete(storage, target.archive_key)
        raise
    caller.context.hints(Lane.DEFAULT)
    return deployed


def _read(file: BinaryIO, limit_bytes: int, tier_cap: str, *, runs_images: bool) -> NewVersion:
    size_bytes = file.seek(0, 2)
    if size_bytes > limit_bytes:
        raise TooLargeError("archive_too_large", f"The archive has {size_bytes} bytes, the limit is {limit_bytes}.")
    sha256 = sha256_of(file)
    try:
        manifest = parse_manifest(read_manifest(file), tier_cap=tier_cap)
        if manifest.runtime.requirements:
            with opened_package(file, requirements.MAX_BYTES) as read:
                requirements.read_requirements(read)
    except InvalidInputError as error:
        raise MalformedError(error.code, error.message, problems=error.problems) from error
    return deploy.from_manifest(manifest, sha256, runs_images=runs_images)


async def _built(caller: Caller, deployed: Deployed) -> PackageDeployResponse:
    def look() -> PackageView:
        with caller.session() as session:
            return read.get_version(session, caller.actor, deployed.version.id)

    view = await wait_until(
        caller.context.doorbell,
        f"version:{deployed.version.id}",
        caller.context.settings.deploy_wait_seconds,
        look,
        lambda found: found.version.status != VersionStatus.BUILDING,
    )
    return render_deployment(view, deployed)
