"""Requests made up from the OpenAPI document, good and bad: no 500, and every answer is documented."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mecapy_platform.api.openapi import document
from support import factories
from support.platform.api_platform import ApiPlatform

EXAMPLES = 8
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(json.loads(document()))
FOUND: list[Any] = list(SCHEMA.get_all_operations())
OPERATIONS = {item.label: item for item in (found.ok() for found in FOUND)}


@pytest.fixture(scope="module")
def token(platform: ApiPlatform) -> str:
    slug = factories.unique()
    actor = platform.actor(f"ann-{slug}", slug)
    factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    return platform.token(f"ann-{slug}", slug)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("label", OPERATIONS)
def test_made_up_requests_get_documented_answers(
    platform: ApiPlatform, token: str, label: str, mode: GenerationMode
) -> None:
    operation: Any = OPERATIONS[label]
    seen: set[int] = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def attack(case: Any) -> None:
        if isinstance(case.query, dict) and "wait" in case.query:
            case.query["wait"] = 0
        answer = case.call(base_url=platform.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    try:
        attack()
    except schemathesis.errors.InvalidSchema:  # nothing can be wrong in a route without parameters
        assert mode is GenerationMode.NEGATIVE
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__:
            raise
        assert mode is GenerationMode.NEGATIVE
    assert all(status < 500 for status in seen)
