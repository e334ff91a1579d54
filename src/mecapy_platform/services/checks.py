"""The policy of checks of an organization, and the report of the checks of a version."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, require_admin
from mecapy_platform.core.checks.policy import DEFAULT_POLICY, Policy, policy_over
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.db.tables import Organization, PackageVersion
from mecapy_platform.services.packages import read


@dataclass(frozen=True)
class OrganizationChecks:
    """What holds, and what the organization itself said of it."""

    slug: str
    policy: Policy
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class VersionChecks:
    """`report` is None while the version is building, and where it was built before there were checks."""

    version: PackageVersion
    report: Mapping[str, Any] | None


def effective(default: Mapping[str, Any], changes: Mapping[str, Any]) -> Policy:
    """The platform's policy, with what the organization changed of it."""
    return policy_over(policy_over(DEFAULT_POLICY, default, "MECAPY_CHECKS"), changes)


def get_policy(session: Session, actor: Actor, slug: str, default: Mapping[str, Any]) -> OrganizationChecks:
    organization = _organization(session, actor, slug)
    return OrganizationChecks(organization.slug, effective(default, organization.checks), organization.checks)


def set_policy(
    session: Session, actor: Actor, slug: str, changes: Mapping[str, Any], default: Mapping[str, Any]
) -> OrganizationChecks:
    """Replace what the organization says; what it leaves out is as the platform has it.

    Versions that are built stay as they are.
    """
    organization = _organization(session, actor, slug)
    require_admin(actor, organization.id)
    policy = effective(default, changes)
    organization.checks = dict(changes)
    session.flush()
    return OrganizationChecks(organization.slug, policy, organization.checks)


def version_checks(session: Session, actor: Actor, package_id: UUID, version: str) -> VersionChecks:
    read.find(session, actor, package_id)
    query = select(PackageVersion).where(PackageVersion.package_id == package_id, PackageVersion.version == version)
    row = session.scalars(query).first()
    if row is None:
        raise NotFoundError("version_not_found", "There is no such version.")
    return VersionChecks(row, row.report.get("checks"))


def _organization(session: Session, actor: Actor, slug: str) -> Organization:
    """One of the caller's, the personal one included: as `user:NAME`, or by the name alone."""
    query = select(Organization).where(
        Organization.slug.in_((slug, f"user:{slug}")), Organization.id.in_(actor.organization_ids)
    )
    found = {item.slug: item for item in session.scalars(query)}
    organization = found.get(slug) or found.get(f"user:{slug}")
    if organization is None:
        raise NotFoundError("organization_not_found", "There is no such organization.")
    return organization
