"""Whether the platform is there, and whether each part of it answers."""

from importlib.metadata import version

from fastapi import APIRouter, Response
from pydantic import BaseModel

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Context
from mecapy_platform.api.published.models import Health, Message

router = APIRouter(tags=["system"])


class Ready(BaseModel):
    """`parts` says "ok" or what is wrong, by part."""

    status: str
    parts: dict[str, str]


@router.get("/", operation_id="root", responses=problems(signed_in=False))
async def root() -> Message:
    """Say that this is MecaPy, and which version."""
    return Message(message="MecaPy API", status="ok", version=version("mecapy-platform"))


@router.get("/health", operation_id="health", responses=problems(signed_in=False))
async def health() -> Health:
    """The process answers; `/ready` says more."""
    return Health(status="healthy")


@router.get(
    "/ready",
    operation_id="ready",
    responses={
        **problems(schema="Problem", signed_in=False),
        503: {"model": Ready, "description": "A part does not answer."},
    },
)
async def ready(context: Context, response: Response) -> Ready:
    """Ask every part: database, broker, storage, workers. Askers of the same second get the same answer."""
    parts = await context.readiness.parts(context.checks)
    is_ready = all(part == "ok" for part in parts.values())
    response.status_code = 200 if is_ready else 503
    return Ready(status="ready" if is_ready else "not_ready", parts=parts)
