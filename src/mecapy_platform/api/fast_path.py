"""The routes of the fast path, asynchronous end to end: `POST /tasks` and `GET /tasks/{id}?wait=`.

docs/decisions/0009 draws the line.

A layer in front of the ordinary routes. It answers what is common; whatever is not, and whatever goes wrong, is handed
on with its body to the ordinary route, which gives the same answers more slowly and alone knows how to refuse.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mecapy_platform.api.deps import Caller, get_filter, own_caller, own_memberships
from mecapy_platform.api.fast_render import render_draft, render_end_notice, render_ended
from mecapy_platform.api.guards import BODY_STEP_SECONDS, TOO_SLOW, ErrorGuard
from mecapy_platform.api.problems import error_response
from mecapy_platform.api.task_models import TaskBody
from mecapy_platform.api.tasks import one_task
from mecapy_platform.api.waiting import FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS
from mecapy_platform.core import json_text
from mecapy_platform.core.errors import MecapyError, UnavailableError
from mecapy_platform.db.errors import DatabaseAwayError, DatabaseError
from mecapy_platform.events.doorbell import Ring
from mecapy_platform.services.tasks.fast_path import Draft, FastTasks
from mecapy_platform.services.tasks.requests import TaskRequest

log = logging.getLogger(__name__)
BODY_BYTES = 64 * 1024
WAIT_MAX_SECONDS = 86400.0
JSON = "application/json"


@dataclass(frozen=True)
class _Asked:
    """A submit as far as it could be read here."""

    caller: Caller
    request: TaskRequest
    draft: Draft


class FastRoutes:
    """Stands in front of the whole application, its guards included, and hands on to `app` what it does not take."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._lanes: dict[str, Callable[..., None]] = {}  # to be hinted at the end of this turn of the loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        take: Callable[[Scope, Receive, Send], Awaitable[None]] = self._app
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if method == "POST" and path == "/tasks":
                take = self._submit
            elif method == "GET" and b"wait=" in scope["query_string"] and _task_id(path) is not None:
                take = self._look
        if take is self._app:
            await self._app(scope, receive, send)
        else:
            await ErrorGuard(take)(scope, receive, send)

    def _hint(self, caller: Caller, lane: str) -> None:
        """Once for all that one statement has accepted."""
        if not self._lanes:
            asyncio.get_running_loop().call_soon(self._send_hints)
        self._lanes[lane] = caller.context.hints

    def _send_hints(self) -> None:
        lanes, self._lanes = self._lanes, {}
        for lane, hints in lanes.items():
            hints(lane)

    async def _submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, wait = Headers(scope=scope), _wait(scope)
        body = _Body(receive)
        asked = None
        if wait is not None and headers.get("content-type") == JSON and "idempotency-key" not in headers:
            message = await body.first()
            if message is not None:
                asked = await _read(scope, headers, message)
        if asked is None:
            await self._app(scope, body.again, send)
            return
        caller, draft = asked.caller, asked.draft
        doorbell = caller.context.doorbell
        with doorbell.listening(f"task:{draft.id}") as ring:  # before the task exists, so that its end cannot be missed
            try:
                created_at = await _fast_tasks(scope).submit(caller.actor, caller.scope, asked.request, draft)
            except DatabaseError as error:
                log.warning("submit: %s", error.detail)
                created_at = None
                if isinstance(error, DatabaseAwayError):
                    await error_response(scope["path"], _unavailable())(
                        scope, receive, send
                    )  # nobody knows whether it was accepted
                    return
            if created_at is None:
                await self._app(scope, body.again, send)
                return
            self._hint(caller, draft.columns["lane"])
            if not wait:
                await _answer(send, 201, render_draft(draft, created_at))
                return
            seconds = min(wait, caller.context.settings.wait_seconds_max)
            # who has just been allowed to submit it may read how it ended
            found = await _until_ended(
                scope,
                caller,
                draft.id,
                ring,
                seconds,
                lambda end_notice: render_end_notice(draft, created_at, end_notice),
            )
        await _answer(send, 201, found if found is not None else await _slowly(caller, draft.id))

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait, task_id = _wait(scope), _task_id(scope["path"])
        caller = None if not wait else await _caller(scope, Headers(scope=scope))
        if caller is None or wait is None or task_id is None:
            await self._app(scope, receive, send)
            return
        try:
            with caller.context.doorbell.listening(f"task:{task_id}") as ring:
                found = await _ended(scope, caller, task_id)
                if found is None:
                    await _slowly(caller, task_id)  # raises where there is no such task
                    seconds = min(wait, caller.context.settings.wait_seconds_max)
                    found = await _until_ended(scope, caller, task_id, ring, seconds) or await _slowly(caller, task_id)
        except MecapyError as error:
            await error_response(scope["path"], error)(scope, receive, send)
            return
        await _answer(send, 200, found)


class _Body:
    """A body of one message, which may be read once more by the ordinary route."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: Message | None = None
        self._refusal: HTTPException | None = None  # of a body that is too slow; end_notice by the ordinary route

    async def first(self) -> bytes | None:
        """The whole body, where it is small and came in one piece."""
        try:
            async with asyncio.timeout(BODY_STEP_SECONDS):
                message = self._read = await self._receive()
        except TimeoutError:
            self._refusal = HTTPException(408, TOO_SLOW, {"Connection": "close"})
            return None
        if message["type"] != "http.request" or message.get("more_body") or len(message.get("body", b"")) > BODY_BYTES:
            return None
        body: bytes = message.get("body", b"")
        return body

    async def again(self) -> Message:
        if self._refusal is not None:
            raise self._refusal
        message, self._read = self._read, None
        return message if message is not None else await self._receive()


async def _read(scope: Scope, headers: Headers, body: bytes) -> _Asked | None:
    """None for whatever cannot be taken here, mistakes included: the ordinary route says what they are."""
    caller = await _caller(scope, headers)
    if caller is None or len(body) > caller.context.settings.body_bytes:
        return None
    try:
        caller.context.storage.check_room()
        request = TaskBody.model_validate(json_text.loads(body)).request()
        draft = _fast_tasks(scope).draft(caller.actor, caller.scope, request) if not request.files else None
    except (json_text.JsonError, ValidationError, MecapyError):
        return None
    return None if draft is None else _Asked(caller, request, draft)


async def _caller(scope: Scope, headers: Headers) -> Caller | None:
    replaced = scope["app"].dependency_overrides.get(get_filter)
    filtered = own_memberships if replaced is None else replaced()
    organization = headers.get("mecapy-organization")
    if organization is not None and len(organization) > 100:
        return None
    try:
        return await own_caller(Request(scope), None, filtered, organization)
    except MecapyError:
        return None


async def _until_ended(
    scope: Scope,
    caller: Caller,
    task_id: UUID,
    ring: Ring,
    seconds: float,
    render: Callable[[str], bytes] | None = None,
) -> bytes | None:
    """The answer once the task has ended: looked for when the bell rings, and now and then all the same.

    `render`: of what a ring tells.
    """
    deadline, look_seconds = time.monotonic() + seconds, FIRST_LOOK_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        await ring.wait(min(left, look_seconds))
        if render is not None and ring.end_notice is not None:
            return render(ring.end_notice)
        look_seconds = min(LAST_LOOK_SECONDS, look_seconds * 1.5)
        found = await _ended(scope, caller, task_id)
        if found is not None:
            return found
    return None


async def _ended(scope: Scope, caller: Caller, task_id: UUID) -> bytes | None:
    try:
        task = await _fast_tasks(scope).look(caller.actor, caller.scope, task_id)
    except DatabaseError as error:
        log.warning("look: %s", error.detail)
        return None
    return None if task is None else render_ended(task)


async def _slowly(caller: Caller, task_id: UUID) -> bytes:
    answer = await run_in_threadpool(one_task, caller, task_id)
    return bytes(answer.body)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _fast_tasks(scope: Scope) -> FastTasks:
    fast_tasks: FastTasks = scope["app"].state.fast_path
    return fast_tasks


def _task_id(path: str) -> UUID | None:
    head, _, rest = path.rpartition("/")
    if head != "/tasks" or len(rest) != 36:
        return None
    try:
        return UUID(rest)
    except ValueError:
        return None


def _wait(scope: Mapping[str, Any]) -> float | None:
    """Seconds to wait, 0 without; None for a query that must be looked at more closely."""
    if not scope["query_string"]:
        return 0.0
    try:
        pairs = parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, strict_parsing=True)
        ((name, value),) = pairs
        seconds = float(value)
    except ValueError:
        return None
    return (
        seconds
        if name == "wait" and 0 <= seconds <= WAIT_MAX_SECONDS and "_" not in value and value == value.strip()
        else None
    )


def _unavailable() -> UnavailableError:
    return UnavailableError("unavailable", "The database cannot be reached right now; try again in a few seconds.")
