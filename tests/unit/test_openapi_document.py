"""The OpenAPI document: complete for every route, and the stored copy is the code's."""

import json
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.api.openapi import document
from mecapy_platform.api.problems import is_own

STORED = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
METHODS = {"get", "post", "patch", "delete", "put"}
OPEN = {
    "/",
    "/health",
    "/ready",
    "/types/catalog",
    "/workflow-documents/schema",
    "/types/check-connection",
    "/storage/{key}",
}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(document())
    return loaded


def operations(made: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, entry)
        for path, item in made["paths"].items()
        for method, entry in item.items()
        if method in METHODS
    ]


def test_the_stored_document_is_the_codes() -> None:
    assert STORED.read_text("utf-8") == document(), "run `make docs` and commit docs/reference/openapi.json"


def test_every_route_has_id_description_tag_and_errors(made: dict[str, Any]) -> None:
    for path, method, item in operations(made):
        where = f"{method} {path}"
        assert item.get("operationId"), where
        assert item.get("description"), where
        assert item.get("tags"), where
        needed = {"422", "500", "503"} | (set() if path in OPEN else {"401", "403", "404"})
        assert needed <= set(item["responses"]), where


def test_every_route_of_ours_that_reads_a_body_says_400_for_one_that_is_no_json(made: dict[str, Any]) -> None:
    reads = [(path, item) for path, _, item in operations(made) if is_own(path) and "requestBody" in item]
    assert len(reads) > 5
    assert [path for path, item in reads if "400" not in item["responses"]] == []


def test_operation_ids_are_unique(made: dict[str, Any]) -> None:
    ids = [item["operationId"] for _, _, item in operations(made)]
    assert len(ids) == len(set(ids))


def test_every_other_route_asks_for_a_token(made: dict[str, Any]) -> None:
    without = {path for path, _, item in operations(made) if not item.get("security")}
    assert without == OPEN


def test_every_reference_leads_somewhere(made: dict[str, Any]) -> None:
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.add(value["$ref"])
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for entry in value:
                walk(entry)

    walk(made)
    schemas = made["components"]["schemas"]
    assert {item for item in found if item.removeprefix("#/components/schemas/") not in schemas} == set()
