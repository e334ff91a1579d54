"""Who signs in: users and memberships follow the tokens of the issuer."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, select, text
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Membership, Role
from mecapy_platform.db import tables
from mecapy_platform.db.session import Database, set_scope
from mecapy_platform.services.work import unit

NOBODY = UUID(int=0)
SIGN_IN = text("SELECT mecapy_sign_in(:issuer, :subject, :username, :email, :organizations, :role)").bindparams(
    bindparam("organizations", type_=ARRAY(Text))
)


@dataclass(frozen=True)
class TokenClaims:
    """What a verified token says; `organizations` None: it makes no statement about them."""

    issuer: str
    subject: str
    username: str
    email: str | None
    roles: tuple[str, ...]
    organizations: tuple[str, ...] | None
    given_name: str | None = None
    family_name: str | None = None

    @property
    def role(self) -> Role:
        return next((role for role in (Role.ADMIN, Role.VIEWER) if role in self.roles), Role.USER)


@dataclass(frozen=True)
class Identity:
    """A known user with all memberships, the personal one first."""

    user_id: UUID
    username: str
    memberships: tuple[Membership, ...]

    @property
    def personal(self) -> Membership:
        return next(membership for membership in self.memberships if membership.is_personal)


def sign_in(database: Database, claims: TokenClaims) -> Identity:
    """Make the user and the memberships that the token names, then read them."""
    with unit(database, [], NOBODY) as session:
        values = {
            "issuer": claims.issuer,
            "subject": claims.subject,
            "username": claims.username,
            "email": claims.email,
            "organizations": list(claims.organizations) if claims.organizations is not None else None,
            "role": claims.role,
        }
        user_id: UUID = session.execute(SIGN_IN, values).scalar_one()
        set_scope(session, [], user_id)
        memberships = _memberships(session, user_id)
        username = session.scalars(select(tables.User.username).where(tables.User.id == user_id)).one()
    return Identity(user_id, username, tuple(sorted(memberships, key=lambda item: (not item.is_personal, item.slug))))


def _memberships(session: Session, user_id: UUID) -> Sequence[Membership]:
    """One's own memberships are visible without a scope; the organizations behind them only within theirs."""
    own = select(tables.Membership.organization_id).where(tables.Membership.user_id == user_id)
    set_scope(session, session.scalars(own).all(), user_id)
    query = (
        select(
            tables.Organization.id, tables.Organization.slug, tables.Organization.is_personal, tables.Membership.role
        )
        .join(tables.Membership, tables.Membership.organization_id == tables.Organization.id)
        .where(tables.Membership.user_id == user_id)
    )
    return [Membership(row.id, row.slug, row.is_personal, Role(row.role)) for row in session.execute(query)]
