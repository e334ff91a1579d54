"""Answers of the platform as exceptions of core/errors, with their code, message and problems."""

from collections.abc import Mapping
from typing import Any

import httpx2

from mecapy_platform.core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    MalformedError,
    MecapyError,
    NotFoundError,
    Problem,
    QuotaExceededError,
    StorageFullError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)


class ServerFaultError(MecapyError):
    """The platform answered, but with a fault of its own or with something that is not its API."""


class StillRunningError(MecapyError):
    """The time to wait is over and the task has not ended; it goes on."""


class LoginError(UnauthenticatedError):
    """The identity provider refused, or nobody finished the login."""


FAMILIES: dict[int, type[MecapyError]] = {
    400: MalformedError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    413: TooLargeError,
    422: InvalidInputError,
    429: QuotaExceededError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    507: StorageFullError,
}


def from_response(response: httpx2.Response) -> MecapyError:
    """The exception that an answer of 400 and above stands for; its body has been read."""
    try:
        body = response.json()
    except ValueError:
        body = None
    status = response.status_code
    family = FAMILIES.get(status, ServerFaultError if status >= 500 else InvalidInputError)
    if not isinstance(body, Mapping):
        message = f"The platform answered {status} without saying why."
        if status == 401:
            message = "The platform does not know this token. Log in again: mecapy login"
        return family(f"http_{status}", message)
    problems = _problems(body)
    code = str(body.get("code") or f"http_{status}")
    return family(code, _message(body, status), problems=problems)


def not_the_api(url: str) -> ServerFaultError:
    return ServerFaultError(
        "not_the_api", f"{url} answers, but not as a MecaPy platform does. Check the address (--url or MECAPY_API_URL)."
    )


def _message(body: Mapping[str, Any], status: int) -> str:
    detail = body.get("detail")
    if isinstance(detail, str) and detail:
        return detail
    if isinstance(detail, Mapping) and isinstance(detail.get("message"), str):
        return str(detail["message"])
    if isinstance(detail, list) and detail:
        return "The request is not valid."
    return str(body.get("title") or f"The platform answered {status}.")


def _problems(body: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Problems of our own paths (`errors`), else of the published shape (`detail` as a list or an object)."""
    errors = body.get("errors")
    if isinstance(errors, list):
        return tuple(
            Problem(str(item.get("path", "")), str(item.get("code", "invalid")), str(item.get("message", "")))
            for item in errors
            if isinstance(item, Mapping)
        )
    detail = body.get("detail")
    if isinstance(detail, list):
        return tuple(_published(item) for item in detail if isinstance(item, Mapping))
    return ()


def _published(item: Mapping[str, Any]) -> Problem:
    where = item.get("loc")
    path = ".".join(str(part) for part in where if part != "body") if isinstance(where, list) else ""
    return Problem(path, str(item.get("type", "invalid")), str(item.get("msg", "")))
