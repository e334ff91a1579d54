"""Our own paths about checks: an organization's policy, a version's report."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import PublishedCaller
from mecapy_platform.api.published.views import parse_id
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.services import checks
from mecapy_platform.services.checks import OrganizationChecks

router = APIRouter(tags=["checks"], route_class=StrictRoute)


class ChecksBody(BaseModel):
    """What differs from the platform's policy; what is left out is as the platform has it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    checks: Annotated[
        dict[str, Any],
        Field(
            max_length=20,
            description='By check: "off", "warn" or "enforce", or {"mode": .., "from": "low" | "medium" | "high"}; '
            "`imports` also takes libraries, listed and denied.",
        ),
    ]


class ChecksAnswer(BaseModel):
    """The policy that holds (`checks`), and what the organization itself said (`changes`)."""

    organization: str
    checks: dict[str, Any]
    changes: dict[str, Any]


class CheckState(BaseModel):
    """One check of a version.

    `state`: passed, warned, stopped, not_checked or off; `said` tells by what it was checked, or why not.
    """

    check: str
    mode: str
    since: Annotated[str, Field(alias="from", description="The severity from which on a finding is enforced.")]
    state: str
    found: int
    said: str


class FindingAnswer(BaseModel):
    """One finding; `line` 0 means the whole file, `stops` that the policy enforced it."""

    check: str
    rule: str
    severity: str
    file: str
    line: int
    why: str
    advice: str
    stops: bool


class DependencyAnswer(BaseModel):
    name: str
    version: str
    licence: str


class VersionChecksAnswer(BaseModel):
    """The report of a version; empty while it builds."""

    version: str
    status: str
    checks: list[CheckState] = []
    findings: list[FindingAnswer] = []
    left_out: Annotated[int, Field(description="Findings that are counted and not listed.")] = 0
    dependencies: list[DependencyAnswer] = []
    files: int = 0
    seconds: dict[str, float] = {}


@router.get("/organizations/{slug}/checks", operation_id="get_organization_checks", responses=problems())
def get_organization_checks(slug: str, caller: PublishedCaller) -> ChecksAnswer:
    """The policy of checks of an organization of yours."""
    with caller.session() as session:
        found = checks.get_policy(session, caller.actor, slug, caller.context.settings.checks)
    return _policy(found)


@router.put("/organizations/{slug}/checks", operation_id="set_organization_checks", responses=problems())
def set_organization_checks(slug: str, body: ChecksBody, caller: PublishedCaller) -> ChecksAnswer:
    """Change the policy; administrators only. It holds for what is deployed from now on."""
    with caller.session() as session:
        found = checks.set_policy(session, caller.actor, slug, body.checks, caller.context.settings.checks)
    return _policy(found)


@router.get("/packages/{package_id}/versions/{version}/checks", operation_id="get_version_checks", responses=problems())
def get_version_checks(package_id: str, version: str, caller: PublishedCaller) -> VersionChecksAnswer:
    """What the checks found in a version."""
    with caller.session() as session:
        found = checks.version_checks(session, caller.actor, parse_id(package_id, "package"), version)
    about = {"version": found.version.version, "status": found.version.status}
    return VersionChecksAnswer.model_validate({**(found.report or {}), **about})


def _policy(found: OrganizationChecks) -> ChecksAnswer:
    return ChecksAnswer(organization=found.slug, checks=found.policy.as_dict(), changes=dict(found.changes))
