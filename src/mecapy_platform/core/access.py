"""Who asks, and what they may do. Rules alone: tokens are read in api/auth, memberships in services/identity."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from mecapy_platform.core.errors import ForbiddenError


class Role(StrEnum):
    """Role of a user in an organization; the published API knows `user` and `admin`, a viewer shows there as `user`."""

    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"


@dataclass(frozen=True)
class Membership:
    organization_id: UUID
    slug: str
    is_personal: bool
    role: Role


@dataclass(frozen=True)
class Actor:
    """An authenticated user acting in one organization.

    `organization` is where new things go. `visible` are the organizations whose things a request may see: the one named
    by the header on our own paths, all memberships on published paths.
    """

    user_id: UUID
    username: str
    email: str | None
    roles: tuple[str, ...]
    organization: Membership
    visible: tuple[Membership, ...]

    @property
    def organization_ids(self) -> list[UUID]:
        return [item.organization_id for item in self.visible]

    def role_in(self, organization_id: UUID) -> Role | None:
        return next((item.role for item in self.visible if item.organization_id == organization_id), None)


def require_submit(actor: Actor, organization_id: UUID) -> None:
    """A viewer looks and downloads; submitting, cancelling and deploying take a user."""
    if actor.role_in(organization_id) in {None, Role.VIEWER}:
        raise ForbiddenError(
            "viewer_may_not_submit",
            "A viewer may look but not start, stop or deploy; ask an administrator of the organization.",
        )


def require_admin(actor: Actor, organization_id: UUID) -> None:
    if actor.role_in(organization_id) is not Role.ADMIN:
        raise ForbiddenError("administrator_needed", "Only an administrator of the organization may do this.")
