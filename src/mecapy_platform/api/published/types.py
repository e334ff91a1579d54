"""Published paths about port types; no token is needed."""

from fastapi import APIRouter

from mecapy_platform.api.answers import problems
from mecapy_platform.api.published.models import (
    CanonicalTypeModel,
    CheckConnectionRequest,
    CheckConnectionResponse,
    TypesCatalogResponse,
)
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.core.types import CATALOG, CATEGORIES, check_connection

router = APIRouter(prefix="/types", tags=["types"], route_class=StrictRoute)


@router.get("/catalog", operation_id="get_types_catalog", responses=problems(signed_in=False))
async def get_types_catalog() -> TypesCatalogResponse:
    """Every named type, by category."""
    types = [CanonicalTypeModel.model_validate(item.as_dict()) for item in CATALOG.values()]
    return TypesCatalogResponse(types=types, categories=list(CATEGORIES))


@router.post("/check-connection", operation_id="check_connection", responses=problems(400, signed_in=False))
def check_type_connection(body: CheckConnectionRequest) -> CheckConnectionResponse:
    """Whether an output of one type may feed an input of another, and why."""
    verdict = check_connection(body.source, body.target)
    return CheckConnectionResponse(
        compatibility="ALLOWED" if verdict.allowed else "REFUSED",
        reason=verdict.reason,
        source=verdict.source,
        target=verdict.target,
    )
