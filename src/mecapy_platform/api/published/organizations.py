"""Published paths about organizations."""

from fastapi import APIRouter
from starlette.requests import Request

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, PublishedCaller, get_authenticator
from mecapy_platform.api.published.models import (
    OrganizationCreateRequest,
    OrganizationDeleteRequest,
    OrganizationListResponse,
    OrganizationMemberResponse,
    OrganizationMemberUpdateRequest,
    OrganizationResponse,
    OrganizationRole,
    OrganizationSummary,
)
from mecapy_platform.api.published.views import moment, parse_id
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.core.access import Role
from mecapy_platform.services import organizations
from mecapy_platform.services.organizations import Member, OrganizationView

router = APIRouter(prefix="/organizations", tags=["organizations"], route_class=StrictRoute)


@router.get("", operation_id="list_organizations", responses=problems())
def list_organizations(caller: PublishedCaller) -> OrganizationListResponse:
    """The organizations you belong to."""
    with caller.session() as session:
        views = organizations.list_own(session, caller.actor)
    return OrganizationListResponse(organizations=[_summary(view) for view in views], total=len(views))


@router.post("", operation_id="create_organization", status_code=201, responses=problems(409))
def create_organization(
    body: OrganizationCreateRequest, caller: PublishedCaller, request: Request
) -> OrganizationResponse:
    """Make an organization; you become its administrator."""
    with caller.session() as session:
        view = organizations.create(session, caller.actor, slug=body.slug, display_name=body.display_name)
    _read_again(request, caller)
    return _organization(view)


@router.get("/{slug}", operation_id="get_organization", responses=problems())
def get_organization(slug: str, caller: PublishedCaller) -> OrganizationResponse:
    """An organization of yours with its members."""
    with caller.session() as session:
        view = organizations.get(session, caller.actor, slug)
    return _organization(view)


@router.delete("/{slug}", operation_id="delete_organization", status_code=204, responses=problems(409))
def delete_organization(slug: str, body: OrganizationDeleteRequest, caller: PublishedCaller, request: Request) -> None:
    """Delete an empty organization; administrators only, and the slug must be repeated."""
    with caller.session() as session:
        organizations.delete(session, caller.actor, slug, confirm_slug=body.confirm_slug)
    _read_again(request, caller)


@router.patch("/{slug}/members/{user_id}", operation_id="update_member_role", responses=problems(409))
def update_member_role(
    slug: str, user_id: str, body: OrganizationMemberUpdateRequest, caller: PublishedCaller
) -> OrganizationMemberResponse:
    """Change a member's role; administrators only, and one of them must stay."""
    with caller.session() as session:
        member = organizations.set_role(session, caller.actor, slug, parse_id(user_id, "member"), Role(body.role))
    return _member(member)


def _read_again(request: Request, caller: Caller) -> None:
    get_authenticator(request).forget(caller.claims)


def _summary(view: OrganizationView) -> OrganizationSummary:
    return OrganizationSummary(
        id=str(view.organization.id),
        slug=view.organization.slug,
        display_name=view.organization.display_name,
        my_role=_role(view.my_role or Role.USER),
        member_count=len(view.members),
        package_count=view.package_count,
    )


def _organization(view: OrganizationView) -> OrganizationResponse:
    return OrganizationResponse(
        id=str(view.organization.id),
        slug=view.organization.slug,
        display_name=view.organization.display_name,
        created_at=moment(view.organization.created_at),
        members=[_member(member) for member in view.members],
        member_count=len(view.members),
        admin_count=sum(member.membership.role == Role.ADMIN for member in view.members),
        my_role=_role(view.my_role) if view.my_role else None,
    )


def _member(member: Member) -> OrganizationMemberResponse:
    return OrganizationMemberResponse(
        user_id=str(member.user.id),
        email=member.user.email,
        role=_role(Role(member.membership.role)),
        joined_at=moment(member.membership.created_at),
    )


def _role(role: Role) -> OrganizationRole:
    """A viewer shows as `user`: the published API knows two roles."""
    return OrganizationRole.ADMIN if role is Role.ADMIN else OrganizationRole.USER
