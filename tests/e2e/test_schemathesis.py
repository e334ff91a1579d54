"""Requests made up from the OpenAPI document, sent by an administrator with ids that exist.

No 500, and a code on each refusal.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode

from mecapy_platform.api.openapi import document
from support.platform.running_platform import Running, archive, deploy, platform

EXAMPLES = 12
SECONDS_OF_ONE_TEST = 60
MANIFEST = """
version: "1"
package: {name: springs, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
functions:
  force:
    handler: springs:force
    inputs: {stiffness: Float, travel: Length, note: {type: File, required: false}}
    outputs: {force: Force}
"""
CODE = "def force(stiffness, travel, note=None):\n    return {'force': stiffness * travel}\n"
SCHEMA: Any = schemathesis.openapi.from_dict(json.loads(document()))
OPERATIONS: dict[str, Any] = {item.label: item for item in (found.ok() for found in SCHEMA.get_all_operations())}
REACHED = {
    "GET /tasks/{task_id}",
    "GET /tasks/{task_id}/logs",
    "GET /packages/{package_id}",
    "GET /jobs/{job_id}/result",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform() as started:
        yield started


@pytest.fixture(scope="module")
def token(running: Running) -> str:
    return running.token("root", "demo", role="admin")


@pytest.fixture(scope="module")
def known(running: Running, token: str) -> dict[str, str]:
    """Ids and names that exist, by the name of the parameter that takes them."""
    with running.client(token, "demo") as client:
        package = deploy(client, archive(MANIFEST, {"springs.py": CODE}), organization="demo")
        body = {"package": "springs", "function": "force", "inputs": {"stiffness": 2, "travel": "12 mm"}}
        task = client.post("/tasks", params={"wait": 30}, json=body).json()
        assert task["state"] == "completed"
    function = package["functions"][0]
    return {
        "task_id": task["id"],
        "job_id": task["id"],
        "package_id": package["id"],
        "function_version_id": function["id"],
        "function_name": "force",
        "slug": "demo",
        "organization_slug": "demo",
    }


def with_known(parameters: object, known: Mapping[str, str]) -> object:
    if not isinstance(parameters, Mapping):
        return parameters
    return {name: known.get(name, value) for name, value in parameters.items()}


@pytest.mark.timeout(SECONDS_OF_ONE_TEST)
@pytest.mark.parametrize("label", OPERATIONS)
def test_no_made_up_request_is_answered_with_500(
    running: Running, token: str, known: dict[str, str], label: str
) -> None:
    operation = OPERATIONS[label]
    url, seen = running.url, set[int]()

    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def attack(case: Any) -> None:
        case.path_parameters = with_known(case.path_parameters, known)
        if isinstance(case.query, dict):
            case.query |= {"wait": 0} if "wait" in case.query else {}
        if isinstance(case.body, dict) and "package" in case.body:
            case.body |= {"package": "springs", "function": "force"}
        answer = case.call(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        seen.add(answer.status_code)
        assert answer.status_code < 500 or label == "GET /ready", f"{answer.status_code}: {answer.text[:1000]}"
        if answer.status_code >= 400:
            assert answer.headers["content-type"][0] == "application/problem+json"
            assert answer.json()["code"]

    attack()
    assert seen
    assert label not in REACHED or seen & {200, 201}, f"{label} met nothing that exists: {seen}"


def test_the_platform_is_unharmed_afterwards(running: Running, token: str, known: dict[str, str]) -> None:
    with running.client(token, "demo") as client:
        assert client.get("/ready").status_code == 200
        client.post(f"/packages/{known['package_id']}/unarchive")
        client.post(f"/packages/{known['package_id']}/unyank")
        body = {"package": "springs", "function": "force", "inputs": {"stiffness": 2, "travel": "12 mm"}}
        answer: httpx2.Response = client.post("/tasks", params={"wait": 30}, json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["state"] == "completed"
