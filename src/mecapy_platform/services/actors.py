"""Who somebody is now: for what is done later in a person's name, with the rights of that moment."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, Membership, Role
from mecapy_platform.db import tables


def present_actor(session: Session, user_id: UUID, organization_id: UUID) -> Actor | None:
    """The user acting in this organization, seeing all memberships; None for who is no member of it any more.

    `session` is one of the platform, which no tenant's scope binds.
    """
    rows = session.execute(
        select(
            tables.User.username,
            tables.User.email,
            tables.Organization.id,
            tables.Organization.slug,
            tables.Organization.is_personal,
            tables.Membership.role,
        )
        .join(tables.Membership, tables.Membership.user_id == tables.User.id)
        .join(tables.Organization, tables.Organization.id == tables.Membership.organization_id)
        .where(tables.User.id == user_id)
        .order_by(tables.Organization.is_personal.desc(), tables.Organization.slug)
    ).all()
    memberships = tuple(Membership(row.id, row.slug, row.is_personal, Role(row.role)) for row in rows)
    acting_in = next((item for item in memberships if item.organization_id == organization_id), None)
    if acting_in is None:
        return None
    return Actor(user_id, rows[0].username, rows[0].email, (), acting_in, memberships)
