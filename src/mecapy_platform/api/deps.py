"""What a route asks for in its signature: the context, and the caller with a unit of work."""

from collections.abc import Iterator
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
from mecapy_platform.services.identity import Claims, Identity
from mecapy_platform.services.work import Session, unit

bearer = HTTPBearer(auto_error=False, description="A token of a trusted issuer.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


@dataclass(frozen=True)
class Caller:
    """An authenticated user, and the way to the rows that this user may see."""

    actor: Actor
    claims: Claims
    context: ApiContext

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: commits at the end of the block, rolls back on an error."""
        with unit(self.context.database, self.actor.organization_ids, self.actor.user_id) as session:
            yield session

    def organization_id(self, slug: str | None) -> UUID:
        """Where a new package goes: the named organization, else the personal one."""
        if slug is None:
            return next(one.organization_id for one in self.actor.visible if one.is_personal)
        return _named(self.actor.visible, slug).organization_id


def get_context(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


def get_authenticator(request: Request) -> Authenticator:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


async def published_caller(request: Request, _token: Bearer) -> Caller:
    """On published paths: everything of every organization the user belongs to."""
    claims, identity = await _who(request)
    return Caller(_actor(claims, identity, identity.personal, identity.memberships), claims, get_context(request))


async def optional_caller(request: Request, token: Bearer) -> Caller | None:
    """None without a token; a token that is sent must be good."""
    if token is None and "authorization" not in request.headers:
        return None
    return await published_caller(request, token)


async def own_caller(
    request: Request,
    _token: Bearer,
    organization: Annotated[
        str | None, Header(alias="MecaPy-Organization", max_length=100, description="Slug of the organization.")
    ] = None,
) -> Caller:
    """On our own paths: the organization that the header names; without it, the only one, else the personal one, seeing all."""
    claims, identity = await _who(request)
    if organization is None:
        return Caller(_actor(claims, identity, _default(identity), identity.memberships), claims, get_context(request))
    named = _named(identity.memberships, organization)
    return Caller(_actor(claims, identity, named, (named,)), claims, get_context(request))


async def _who(request: Request) -> tuple[Claims, Identity]:
    authenticator = get_authenticator(request)
    claims = await authenticator.claims(request.headers)
    return claims, await authenticator.identity(claims)


def _actor(claims: Claims, identity: Identity, organization: Membership, visible: tuple[Membership, ...]) -> Actor:
    return Actor(identity.user_id, identity.username, claims.email, claims.roles, organization, visible)


def _default(identity: Identity) -> Membership:
    others = [one for one in identity.memberships if not one.is_personal]
    return others[0] if len(others) == 1 else identity.personal


def _named(memberships: tuple[Membership, ...], slug: str) -> Membership:
    by_slug = {one.slug: one for one in memberships}
    found = by_slug.get(slug) or by_slug.get(f"user:{slug}")
    if found is None:
        raise NotFoundError("organization_not_found", "There is no such organization.")
    return found


Context = Annotated[ApiContext, Depends(get_context)]
PublishedCaller = Annotated[Caller, Depends(published_caller)]
OptionalCaller = Annotated[Caller | None, Depends(optional_caller)]
OwnCaller = Annotated[Caller, Depends(own_caller)]
