"""What a route asks for in its signature: the context, and the caller with a unit of work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from mecapy_platform.api.auth import Authenticator
from mecapy_platform.api.context import ApiContext
from mecapy_platform.core.access import Actor, Membership
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.services.identity import Identity, TokenClaims
from mecapy_platform.services.values import ValueStore
from mecapy_platform.services.work import Session, unit

bearer = HTTPBearer(auto_error=False, description="A token of a trusted issuer.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
Filter = Callable[[Identity], tuple[Membership, ...]]


@dataclass(frozen=True)
class Caller:
    """An authenticated user, and the way to the rows that this user may see.

    The queries filter by `actor`, row-level security goes by `scope`: two fences, each of which holds without the
    other.
    """

    actor: Actor
    scope: tuple[UUID, ...]
    claims: TokenClaims
    context: ApiContext

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: commits at the end of the block, rolls back on an error."""
        with unit(self.context.database, self.scope, self.actor.user_id) as session:
            yield session

    @contextmanager
    def accepting(self) -> Iterator[Session]:
        """As `session`, for new tasks.

        Refused while the disk is below its floor, for who accepts work must be able to store it.
        """
        self.context.storage.check_room()
        with self.session() as session:
            yield session

    @property
    def values(self) -> ValueStore:
        """Where inputs go that are too large for their task's row."""
        context = self.context
        return ValueStore(context.storage, self.session, context.settings.row_value_bytes)

    def organization_id(self, slug: str | None) -> UUID:
        """Where a new package goes: the named organization, else the personal one."""
        if slug is None:
            return next(item.organization_id for item in self.actor.visible if item.is_personal)
        return _named(self.actor.visible, slug).organization_id


def get_context(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


def get_authenticator(request: Request) -> Authenticator:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


def own_memberships(identity: Identity) -> tuple[Membership, ...]:
    return identity.memberships


async def get_filter() -> Filter:
    """Which memberships the queries filter by. The scope of row-level security does not ask here."""
    return own_memberships


Filtered = Annotated[Filter, Depends(get_filter)]


async def published_caller(request: Request, _token: Bearer, filtered: Filtered) -> Caller:
    """On published paths: everything of every organization the user belongs to."""
    claims, identity = await _who(request)
    return _caller(request, claims, identity, _actor(claims, identity, identity.personal, filtered(identity)))


async def optional_caller(request: Request, token: Bearer, filtered: Filtered) -> Caller | None:
    """None without a token; a token that is sent must be good."""
    if token is None and "authorization" not in request.headers:
        return None
    return await published_caller(request, token, filtered)


async def own_caller(
    request: Request,
    _token: Bearer,
    filtered: Filtered,
    organization: Annotated[
        str | None, Header(alias="MecaPy-Organization", max_length=100, description="Slug of the organization.")
    ] = None,
) -> Caller:
    """On our own paths: the organization that the header names.

    Without it, the only one, else the personal one, seeing all.
    """
    claims, identity = await _who(request)
    visible = filtered(identity)
    if organization is None:
        return _caller(request, claims, identity, _actor(claims, identity, _default(identity), visible))
    named = _named(visible, organization)
    return _caller(request, claims, identity, _actor(claims, identity, named, (named,)), only=named.organization_id)


async def _who(request: Request) -> tuple[TokenClaims, Identity]:
    authenticator = get_authenticator(request)
    claims = await authenticator.claims(request.headers)
    return claims, await authenticator.identity(claims)


def _caller(
    request: Request, claims: TokenClaims, identity: Identity, actor: Actor, *, only: UUID | None = None
) -> Caller:
    ids = [membership.organization_id for membership in identity.memberships]
    scope = tuple(item for item in ids if only is None or item == only)
    return Caller(actor, scope, claims, get_context(request))


def _actor(claims: TokenClaims, identity: Identity, organization: Membership, visible: tuple[Membership, ...]) -> Actor:
    return Actor(identity.user_id, identity.username, claims.email, claims.roles, organization, visible)


def _default(identity: Identity) -> Membership:
    others = [membership for membership in identity.memberships if not membership.is_personal]
    return others[0] if len(others) == 1 else identity.personal


def _named(memberships: tuple[Membership, ...], slug: str) -> Membership:
    by_slug = {membership.slug: membership for membership in memberships}
    found = by_slug.get(slug) or by_slug.get(f"user:{slug}")
    if found is None:
        raise NotFoundError("organization_not_found", "There is no such organization.")
    return found


Context = Annotated[ApiContext, Depends(get_context)]
PublishedCaller = Annotated[Caller, Depends(published_caller)]
OptionalCaller = Annotated[Caller | None, Depends(optional_caller)]
OwnCaller = Annotated[Caller, Depends(own_caller)]
