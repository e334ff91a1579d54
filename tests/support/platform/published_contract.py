"""Checks answers against the published OpenAPI document."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx2
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = Path(__file__).parents[2] / "contracts" / "mecapy-openapi-0.1.2.json"
METHODS = ("get", "post", "patch", "delete", "put")


@lru_cache
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DOCUMENT.read_text("utf-8"))
    return loaded


def operations() -> set[tuple[str, str]]:
    """(method, path template) of every published route."""
    return {(method, path) for path, item in document()["paths"].items() for method in item if method in METHODS}


def template_of(method: str, path: str) -> str:
    """The published path that an address belongs to; a literal one goes before one with parameters."""
    found = [
        item
        for verb, item in operations()
        if verb == method and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", item), path)
    ]
    assert found, f"{method} {path} is not published"
    return min(found, key=lambda item: item.count("{"))


def check(answer: httpx2.Response) -> httpx2.Response:
    """The answer, after it was found valid against the schema of its status."""
    method, path = answer.request.method.lower(), answer.request.url.path
    responses = document()["paths"][template_of(method, path)][method]["responses"]
    declared = responses.get(str(answer.status_code))
    if declared is None:
        assert answer.status_code >= 400, (
            f"{method} {path} answers {answer.status_code}, published are {sorted(responses)}"
        )
        assert isinstance(answer.json()["detail"], str | list | dict)
        return answer
    schema = declared.get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        assert answer.content == b""
        return answer
    registry: Registry[Any] = Registry().with_resource(
        "urn:api", Resource.from_contents(document(), default_specification=DRAFT202012)
    )
    Draft202012Validator(_absolute(schema), registry=registry).validate(answer.json())
    return answer


def _absolute(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: f"urn:api{value}" if name == "$ref" else _absolute(value) for name, value in schema.items()}
    return schema
