"""Whether the platform is there, and whether each part of it answers."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Response
from pydantic import BaseModel

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Context
from mecapy_platform.api.published.models import Health, Message
from mecapy_platform.core.errors import MecapyError

router = APIRouter(tags=["system"])
CHECK_SECONDS = 6.0


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
    """Ask every part: database, broker, storage, workers."""
    found = await asyncio.gather(*(_ask(check) for check in context.checks.values()))
    parts = dict(zip(context.checks, found, strict=True))
    is_ready = all(part == "ok" for part in parts.values())
    response.status_code = 200 if is_ready else 503
    return Ready(status="ready" if is_ready else "not_ready", parts=parts)


async def _ask(check: Callable[[], Any]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await to_thread.run_sync(check, abandon_on_cancel=True)
    except MecapyError as error:
        return error.message
    except Exception:  # noqa: BLE001 - whatever it is, this part does not answer; the log of the part says why
        return "does not answer"
    return "ok"
