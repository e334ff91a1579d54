"""The OpenAPI document: complete for every route, and the stored copy is the code's."""

import json
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.api.openapi import document

STORED = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
METHODS = {"get", "post", "patch", "delete", "put"}
OPEN = {"/", "/health", "/ready", "/types/catalog", "/types/check-connection", "/storage/{key}"}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(document())
    return loaded


def operations(made: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, one) for path, item in made["paths"].items() for method, one in item.items() if method in METHODS
    ]


def test_the_stored_document_is_the_codes() -> None:
    assert STORED.read_text("utf-8") == document(), "run `make docs` and commit docs/reference/openapi.json"


def test_every_route_has_id_description_tag_and_errors(made: dict[str, Any]) -> None:
    for path, method, one in operations(made):
        where = f"{method} {path}"
        assert one.get("operationId"), where
        assert one.get("description"), where
        assert one.get("tags"), where
        needed = {"422", "500", "503"} | (set() if path in OPEN else {"401", "403", "404"})
        assert needed <= set(one["responses"]), where


def test_operation_ids_are_unique(made: dict[str, Any]) -> None:
    ids = [one["operationId"] for _, _, one in operations(made)]
    assert len(ids) == len(set(ids))


def test_every_other_route_asks_for_a_token(made: dict[str, Any]) -> None:
    without = {path for path, _, one in operations(made) if not one.get("security")}
    assert without == OPEN


def test_every_reference_leads_somewhere(made: dict[str, Any]) -> None:
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.add(value["$ref"])
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(made)
    schemas = made["components"]["schemas"]
    assert {one for one in found if one.removeprefix("#/components/schemas/") not in schemas} == set()
