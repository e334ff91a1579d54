"""Organizations and who belongs to them.

Those of the issuer's tokens are kept by services/identity; these are made here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, Role, require_admin
from mecapy_platform.core.errors import ConflictError, InvalidInputError, NotFoundError, Problem
from mecapy_platform.core.ids import new_id
from mecapy_platform.db.errors import RowConflictError, translated
from mecapy_platform.db.session import widen_scope
from mecapy_platform.db.tables import Membership, Organization, Package, Task, User

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,48}[a-z0-9]")


@dataclass(frozen=True)
class Member:
    membership: Membership
    user: User


@dataclass(frozen=True)
class OrganizationView:
    organization: Organization
    members: Sequence[Member]
    my_role: Role | None
    package_count: int = 0


def list_own(session: Session, actor: Actor) -> list[OrganizationView]:
    """The organizations the caller belongs to, without the personal one."""
    ids = [item.organization_id for item in actor.visible if not item.is_personal]
    rows = session.scalars(select(Organization).where(Organization.id.in_(ids)).order_by(Organization.slug))
    return [_view(session, actor, row) for row in rows]


def get(session: Session, actor: Actor, slug: str) -> OrganizationView:
    return _view(session, actor, _row(session, actor, slug))


def create(session: Session, actor: Actor, *, slug: str, display_name: str) -> OrganizationView:
    """Make an organization; whoever makes it is its first administrator."""
    if not SLUG.fullmatch(slug):
        message = "A slug has 2 to 50 small letters, digits and hyphens, and begins and ends with a letter or digit."
        raise InvalidInputError("slug_invalid", message, problems=[Problem("slug", "slug_invalid", message)])
    organization_id = new_id()
    widen_scope(session, organization_id)
    try:
        with translated(), session.begin_nested():
            session.add(Organization(id=organization_id, slug=slug, display_name=display_name))
    except RowConflictError as error:
        raise ConflictError("slug_taken", f"The slug {slug!r} is taken; choose another one.") from error
    session.add(Membership(organization_id=organization_id, user_id=actor.user_id, role=Role.ADMIN))
    session.flush()
    organization = session.get_one(Organization, organization_id)
    session.refresh(organization)
    members = _members(session, organization_id)
    return OrganizationView(organization, members, Role.ADMIN)


def delete(session: Session, actor: Actor, slug: str, *, confirm_slug: str) -> None:
    """Forget an empty organization: no packages, no tasks."""
    organization = _row(session, actor, slug)
    require_admin(actor, organization.id)
    if confirm_slug != slug:
        raise InvalidInputError("confirmation_differs", "confirm_slug must be the slug of the organization.")
    if organization.source == "issuer":
        raise ConflictError("kept_by_issuer", "This organization comes from the identity provider; remove it there.")
    for table, what in ((Package, "packages"), (Task, "tasks")):
        if session.scalar(
            select(func.count()).select_from(
                select(table.id).where(table.organization_id == organization.id).limit(1).subquery()
            )
        ):
            raise ConflictError("organization_not_empty", f"The organization still has {what}.")
    session.delete(organization)
    session.flush()


def set_role(session: Session, actor: Actor, slug: str, user_id: UUID, role: Role) -> Member:
    """Change a member's role. The last administrator stays one."""
    organization = _row(session, actor, slug)
    require_admin(actor, organization.id)
    session.scalars(select(Membership).where(Membership.organization_id == organization.id).with_for_update()).all()
    members = _members(session, organization.id)
    member = next((item for item in members if item.user.id == user_id), None)
    if member is None:
        raise NotFoundError("member_not_found", "There is no such member.")
    others = [item for item in members if item.membership.role == Role.ADMIN and item.user.id != user_id]
    if role is not Role.ADMIN and member.membership.role == Role.ADMIN and not others:
        raise ConflictError(
            "last_administrator", "An organization keeps at least one administrator; name another one first."
        )
    member.membership.role = role
    session.flush()
    return member


def _row(session: Session, actor: Actor, slug: str) -> Organization:
    query = select(Organization).where(
        Organization.slug == slug, Organization.id.in_(actor.organization_ids), ~Organization.is_personal
    )
    organization = session.scalars(query).first()
    if organization is None:
        raise NotFoundError("organization_not_found", "There is no such organization.")
    return organization


def _view(session: Session, actor: Actor, organization: Organization) -> OrganizationView:
    packages = (
        session.scalar(select(func.count()).select_from(Package).where(Package.organization_id == organization.id)) or 0
    )
    return OrganizationView(organization, _members(session, organization.id), actor.role_in(organization.id), packages)


def _members(session: Session, organization_id: UUID) -> list[Member]:
    query = (
        select(Membership, User)
        .join(User, User.id == Membership.user_id)
        .where(Membership.organization_id == organization_id)
        .order_by(Membership.created_at, User.username)
    )
    return [Member(membership, user) for membership, user in session.execute(query)]
