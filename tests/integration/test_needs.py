"""A function that needs a program which no worker has is refused when it is submitted, not tried and lost."""

from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import text, update

from mecapy_platform.db.tables import Function
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("needs")) as platform:
        yield platform


@pytest.fixture
def platform(served: ApiPlatform) -> ApiPlatform:
    with served.worker_database.transaction() as session:
        session.execute(text("DELETE FROM nodes"))
    return served


def see(platform: ApiPlatform, name: str, tools: Sequence[str], **changes: object) -> None:
    with platform.worker_database.transaction() as session:
        factories.see_node(session, name, tools=tools, **changes)


def submit(platform: ApiPlatform, *needs: str) -> tuple[int, dict[str, object]]:
    actor = platform.actor("ada", slug := factories.unique())
    made = factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    with platform.worker_database.transaction() as session:
        session.execute(
            update(Function).where(Function.id == made.functions["size"]).values(options={"needs": list(needs)})
        )
    with platform.client("ada", slug, organization=slug) as client:
        answer = client.post("/tasks", json={"package": "bolts", "function": "size", "inputs": {"diameter": "12 mm"}})
    return answer.status_code, answer.json()


def test_a_tool_that_no_worker_has_is_refused_by_name(platform: ApiPlatform) -> None:
    see(platform, "one", [])
    status, body = submit(platform, "ccx")
    assert (status, body["code"]) == (422, "tool_missing")
    assert "ccx" in str(body["detail"])
    assert "operator" in str(body["detail"])


def test_one_worker_with_the_tool_is_enough(platform: ApiPlatform) -> None:
    see(platform, "one", [])
    see(platform, "two", ["ccx"])
    assert submit(platform, "ccx")[0] == 201


def test_tools_spread_over_two_workers_are_missing_together(platform: ApiPlatform) -> None:
    see(platform, "one", ["ccx"])
    see(platform, "two", ["gmsh"])
    status, body = submit(platform, "ccx", "gmsh")
    assert (status, body["code"]) == (422, "tool_missing")


def test_the_worker_with_the_tool_must_be_large_enough(platform: ApiPlatform) -> None:
    see(platform, "one", [])
    see(platform, "two", ["ccx"], memory_mb=128)
    assert submit(platform, "ccx")[1]["code"] == "never_fits"
    assert submit(platform)[0] == 201


def test_without_any_worker_seen_a_task_waits_as_before(platform: ApiPlatform) -> None:
    assert submit(platform, "ccx")[0] == 201
