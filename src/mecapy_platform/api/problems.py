"""Every error as RFC 9457.

The only place that knows HTTP status codes of errors, and the shape published clients read.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mecapy_platform.core import errors
from mecapy_platform.core.errors import MecapyError, Problem

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
OWN_PATHS = ("/tasks", "/schedules", "/studies", "/runs", "/approvals", "/storage", "/ready")
RETRY_AFTER_SECONDS = 2

STATUS: tuple[tuple[type[MecapyError], int], ...] = (
    (errors.MalformedError, 400),
    (errors.UnauthenticatedError, 401),
    (errors.ForbiddenError, 403),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.TooLargeError, 413),
    (errors.InvalidInputError, 422),
    (errors.QuotaExceededError, 429),
    (errors.UnavailableError, 503),
    (errors.StorageFullError, 507),
)
TITLES = {
    400: "Malformed request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request took too long",
    409: "Conflict",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Invalid input",
    429: "Quota reached",
    500: "Internal error",
    503: "Unavailable",
    507: "Storage full",
}
CODES = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    507: "storage_full",
}
SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
}


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


def is_own(path: str) -> bool:
    """Our own paths answer `detail` as a string; all others keep the published shape."""
    return path.startswith(OWN_PATHS)


def problem_response(
    path: str,
    status: int,
    code: str,
    message: str,
    *,
    problems: Sequence[Problem] = (),
    detail: object = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    if detail is None:
        detail = message if is_own(path) else published_detail(path, status, code, message, problems)
    content: dict[str, Any] = {
        "type": f"urn:mecapy:problem:{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
        "errors": [problem.as_dict() for problem in problems],
        "instance": path,
    }
    return ProblemResponse(content, status, dict(headers or {}))


def published_detail(
    path: str, status: int, code: str, message: str, problems: Sequence[Problem]
) -> str | list[dict[str, Any]]:
    """A sentence; for 422 FastAPI's list; refusals of permission begin as published clients expect."""
    if status == 422:
        found = problems or [Problem("", code, message)]
        return [
            {
                "loc": ["body", *(item for item in problem.path.split(".") if item)],
                "msg": problem.message,
                "type": problem.code,
            }
            for problem in found
        ]
    if status == 403 and not path.startswith("/auth"):
        return f"PermissionDenied: {message}"
    if status == 400 and problems:
        lines = [f"{problem.path}: {problem.message}" for problem in problems]
        return "\n".join([message, *(line for line in lines if line != message)])
    return message


def error_response(path: str, error: MecapyError) -> ProblemResponse:
    status = next((status for family, status in STATUS if isinstance(error, family)), None)
    if status is None:
        return internal_response(path, error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="mecapy"'
    if status in {429, 503}:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return problem_response(
        path, status, error.code, error.message, problems=error.problems, detail=error.report, headers=headers
    )


def internal_response(path: str, error: Exception) -> ProblemResponse:
    """Say nothing of what went wrong inside, but an id under which the log has it."""
    error_id = uuid4()
    log.error("unhandled error %s on %s", error_id, path, exc_info=error)
    message = f"An error on our side; tell the operator the id {error_id}."
    response = problem_response(path, 500, "internal_error", message)
    response.headers["MecaPy-Error-Id"] = str(error_id)
    return response


def install(app: FastAPI) -> None:
    app.add_exception_handler(MecapyError, _mecapy_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def validation_problems(found: Sequence[Any]) -> list[Problem]:
    """Pydantic's errors, each with its path; nothing of the sender's values is repeated."""
    return [Problem(_path(error["loc"]), str(error["type"]), _sentence(error)) for error in found]


def _path(loc: Sequence[object]) -> str:
    parts = [str(part) for part in loc]
    return ".".join(parts[1:] if parts and parts[0] in {"body", "query", "header", "path"} else parts)


def _sentence(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"The body is not valid JSON: {error.get('ctx', {}).get('error', '')}"
    if error["type"] == "extra_forbidden":
        return "This field is not known; check its spelling."
    return str(error["msg"])


async def _mecapy_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, MecapyError)
    return error_response(request.url.path, error)


async def _validation_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    path = request.url.path
    found = error.errors()
    if found and all(item["loc"][0] == "path" for item in found):
        return problem_response(path, 404, "not_found", SENTENCES[404])
    problems = validation_problems(found)
    if is_own(path):
        if any(item["type"] == "json_invalid" for item in found):
            return problem_response(path, 400, "malformed_json", problems[0].message)
        return problem_response(
            path, 422, "invalid_request", "The request has mistakes; see `errors`.", problems=problems
        )
    return problem_response(
        path, 422, "invalid_request", "", problems=problems, detail=_fastapi_detail(found, problems)
    )


def _fastapi_detail(found: Sequence[Any], problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The list that FastAPI itself would answer, as published clients know it."""
    return [
        {
            "loc": [part if isinstance(part, int) else str(part) for part in error["loc"]],
            "msg": problem.message,
            "type": problem.code,
        }
        for error, problem in zip(found, problems, strict=True)
    ]


async def _http_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    return http_error_response(request.url.path, error)


def http_error_response(path: str, error: HTTPException) -> ProblemResponse:
    status = error.status_code
    message = SENTENCES.get(status, str(error.detail))
    return problem_response(path, status, CODES.get(status, "error"), message, headers=error.headers)


def too_complex() -> errors.TooLargeError:
    """Of a body whose values are more than reading it may cost, whatever its length."""
    return errors.TooLargeError(
        "body_too_complex",
        "Reading this body takes more time or memory than one request may use. Send fewer values in it, or large data "
        "as an upload; if it was a submit, look first whether its task exists.",
    )
