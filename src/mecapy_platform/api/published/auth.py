"""Published paths about the caller."""

from fastapi import APIRouter

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import PublishedCaller
from mecapy_platform.api.published.models import AdminAnswer, ProtectedAnswer, UserInfo
from mecapy_platform.core.errors import ForbiddenError
from mecapy_platform.services.identity import TokenClaims

router = APIRouter(prefix="/auth", tags=["authentication"])


@router.get("/me", operation_id="get_current_user", responses=problems())
async def get_current_user(caller: PublishedCaller) -> UserInfo:
    """Who the token says you are."""
    return _info(caller.claims)


@router.get("/protected", operation_id="get_protected", responses=problems())
async def get_protected(caller: PublishedCaller) -> ProtectedAnswer:
    """Answer any signed-in user."""
    return ProtectedAnswer(
        message=f"Hello {caller.claims.username}, this is a protected endpoint.",
        user_info=_info(caller.claims),
        endpoint="/auth/protected",
    )


@router.get("/admin", operation_id="get_admin", responses=problems())
async def get_admin(caller: PublishedCaller) -> AdminAnswer:
    """Answer users with the realm role `admin`."""
    if "admin" not in caller.claims.roles:
        raise ForbiddenError("admin_role_needed", "This needs the role `admin`.")
    return AdminAnswer(
        message=f"Hello {caller.claims.username}, you are an administrator.", admin_access=True, endpoint="/auth/admin"
    )


def _info(claims: TokenClaims) -> UserInfo:
    return UserInfo(
        sub=claims.subject,
        preferred_username=claims.username,
        email=claims.email,
        given_name=claims.given_name,
        family_name=claims.family_name,
        roles=list(claims.roles),
    )
