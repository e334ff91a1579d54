"""How the OpenAPI document describes errors: one schema for our paths, one for published ones."""

from typing import Any, Literal

from mecapy_platform.api.problems import MEDIA_TYPE, TITLES

PROBLEM_SCHEMAS: dict[str, dict[str, Any]] = {
    "ProblemError": {
        "type": "object",
        "title": "ProblemError",
        "description": "One thing wrong with the request.",
        "required": ["path", "code", "message"],
        "properties": {"path": {"type": "string"}, "code": {"type": "string"}, "message": {"type": "string"}},
    },
    "Problem": {
        "type": "object",
        "title": "Problem",
        "description": "An error as RFC 9457; `code` is stable.",
        "required": ["type", "title", "status", "code", "detail", "errors", "instance"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string"},
            "detail": {"type": "string"},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/ProblemError"}},
            "instance": {"type": "string"},
        },
    },
}
PROBLEM_SCHEMAS["PublishedProblem"] = {
    **PROBLEM_SCHEMAS["Problem"],
    "title": "PublishedProblem",
    "description": (
        "An error as RFC 9457; `detail` keeps its published shape: a sentence, FastAPI's list of mistakes, or a report."
    ),
    "properties": {
        **PROBLEM_SCHEMAS["Problem"]["properties"],
        "detail": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "object"}]},
    },
}
SIGNED_IN = (401, 403, 404, 408, 413, 422, 500, 503)
Schema = Literal["Problem", "PublishedProblem"]


def problems(
    *status: int, schema: Schema = "PublishedProblem", signed_in: bool = True
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what every route that asks for a token may answer, and `status` beside it."""
    every = SIGNED_IN if signed_in else (408, 413, 422, 500, 503)
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {item: {"description": TITLES[item], "content": content} for item in sorted({*every, *status})}
