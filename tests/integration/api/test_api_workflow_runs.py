"""Runs over the published paths, their answers validated against the published document. The test is the worker."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import func, select

from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import Package, Task
from mecapy_platform.db.workflow_tables import Call, RunNode
from mecapy_platform.services.runs.advance import advance
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.values import ValueStore
from support import factories
from support.graphs import edge, function_node, input_node, node
from support.platform.api_platform import ApiPlatform
from support.platform.published_contract import check

Json = dict[str, Any]
CHECK = {
    "inputs": {"stress": {"type": "Stress", "description": None, "required": True}},
    "outputs": {"ratio": {"type": "Float", "description": None, "required": True}},
}


@pytest.fixture
def slug() -> str:
    return factories.unique()


@pytest.fixture
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug)


@pytest.fixture
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    return factories.ready_package(
        platform.worker_database,
        actor.organization.organization_id,
        actor.user_id,
        functions={"size": factories.SIZE, "check": CHECK},
    )


def graph_of(package: factories.ReadyPackage) -> Json:
    """Two sizes side by side, of which the first is checked: a chain of two nodes, and one alone."""
    size, checked = package.functions["size"], package.functions["check"]
    nodes = [
        input_node("d", "Length"),
        input_node("load", "Force", required=False, default="20 kN"),
        function_node("size", size),
        function_node("check", checked),
        function_node("other", size),
    ]
    edges = [
        *(edge("d.value", f"{target}.diameter") for target in ("size", "other")),
        *(edge("load.value", f"{target}.load") for target in ("size", "other")),
        edge("size.stress", "check.stress"),
    ]
    return {"nodes": nodes, "edges": edges}


def workflow(client: httpx2.Client, organization: str, graph: Json) -> Json:
    made = client.post(
        "/workflows", json={"slug": factories.unique("w"), "name": "w", "organization_slug": organization}
    )
    assert made.status_code == 201, made.text
    saved = client.post(f"/workflows/{made.json()['slug']}/versions", json=graph)
    assert saved.status_code == 201, saved.text
    answer: Json = {**made.json(), "version_id": saved.json()["id"]}
    return answer


@pytest.fixture
def made(client: httpx2.Client, slug: str, package: factories.ReadyPackage) -> Json:
    return workflow(client, slug, graph_of(package))


def submit(client: httpx2.Client, made: Json, inputs: Json, **more: Any) -> Json:
    answer = check(client.post(f"/workflows/{made['slug']}/runs", json={"inputs": inputs, **more}))
    assert answer.status_code == 201, answer.text
    run: Json = answer.json()
    return run


def go_on(platform: ApiPlatform, run_id: str) -> None:
    """As the process that ended a task."""
    database = platform.worker_database
    values = ValueStore(platform.storage, database.transaction, platform.settings.row_value_bytes)
    with database.transaction() as session:
        advance(session, UUID(run_id), Tools(values, platform.settings.queue_rules, takes_marks=True))


def end(platform: ApiPlatform, run_id: str, results: Mapping[str, Json | None]) -> None:
    """End the tasks of nodes with a result, or with a failure, and advance the run."""
    client_tasks = node_tasks(platform, run_id)
    for key, result in results.items():
        failed = factories.End(TaskState.FAILED, None, error=("user_error", "it broke"))
        factories.end_task(
            platform.worker_database, client_tasks[key], failed if result is None else factories.End(result=result)
        )
    go_on(platform, run_id)


def node_tasks(platform: ApiPlatform, run_id: str) -> dict[str, UUID]:
    """What a worker may claim, by the key of the node."""
    queued = (
        select(RunNode.key, Task.id)
        .join(Call, Call.node_id == RunNode.id)
        .join(Task, Task.id == Call.task_id)
        .where(RunNode.run_id == UUID(run_id), Task.state == TaskState.QUEUED)
    )
    with platform.worker_database.transaction() as session:
        return {row.key: row.id for row in session.execute(queued)}


def test_a_run_goes_to_its_end_without_a_tick(
    platform: ApiPlatform, client: httpx2.Client, made: Json, slug: str
) -> None:
    run = submit(client, made, {"d": "12 mm"})
    assert (run["status"], run["inputs"], run["visibility_snapshot"]) == ("running", {"d": "12 mm"}, f"internal@{slug}")
    assert {key: state["status"] for key, state in run["node_states"].items()} == {
        "size": "running",
        "check": "pending",
        "other": "running",
    }
    assert (run["terminal_outputs"], run["completed_at"], run["workflow_slug"]) == (None, None, made["slug"])
    end(platform, run["id"], {"size": {"stress": 1e6}, "other": {"stress": 2e6}})
    end(platform, run["id"], {"check": {"ratio": 0.5}})
    ended = check(client.get(f"/workflow-runs/{run['id']}")).json()
    assert (ended["status"], ended["error_message"], ended["first_failed_node_key"]) == ("completed", None, None)
    assert ended["terminal_outputs"] == {"check": {"ratio": 0.5}, "other": {"stress": 2e6}}
    assert ended["node_states"]["size"]["status"] == "success"
    assert ended["node_states"]["size"]["outputs"] == {"stress": 1e6}
    job_id = ended["node_states"]["size"]["job_id"]
    assert check(client.get(f"/jobs/{job_id}/result")).json()["result"] == {"stress": 1e6}
    assert ended["completed_at"] >= ended["started_at"]


def test_the_plan_is_frozen_at_the_start(client: httpx2.Client, made: Json, package: factories.ReadyPackage) -> None:
    run = submit(client, made, {"d": 0.012})
    plan = check(client.get(f"/workflow-runs/{run['id']}/plan")).json()
    assert plan == run["plan_snapshot"]
    assert [[step["node_key"] for step in chain["steps"]] for chain in plan["chains"]] == [["size", "check"], ["other"]]
    assert plan["waves"] == [["chain_0", "chain_1"]]
    steps = plan["chains"][0]["steps"]
    assert plan["chains"][0]["package_version_id"] == str(package.version_id)
    assert steps[0]["input_bindings"]["diameter"] == {
        "source": "input_node",
        "input_key": "d",
        "from_port": "value",
    }
    assert steps[1]["input_bindings"] == {"stress": {"source": "chain", "from_node_key": "size", "from_port": "stress"}}


def test_a_failed_node_cancels_what_depends_on_it(platform: ApiPlatform, client: httpx2.Client, made: Json) -> None:
    run = submit(client, made, {"d": 0.012})
    end(platform, run["id"], {"size": None})
    assert check(client.get(f"/workflow-runs/{run['id']}")).json()["status"] == "running"
    end(platform, run["id"], {"other": {"stress": 1.0}})
    ended = check(client.get(f"/workflow-runs/{run['id']}")).json()
    assert (ended["status"], ended["first_failed_node_key"]) == ("failed", "size")
    assert "it broke" in ended["error_message"]
    assert {key: state["status"] for key, state in ended["node_states"].items()} == {
        "size": "failed",
        "check": "cancelled",
        "other": "success",
    }
    assert ended["node_states"]["size"]["error"] == "it broke"
    assert ended["terminal_outputs"] == {"other": {"stress": 1.0}}


def test_a_tick_changes_nothing(platform: ApiPlatform, client: httpx2.Client, made: Json) -> None:
    run = submit(client, made, {"d": 0.012})
    for _ in range(3):
        ticked = check(client.post(f"/workflow-runs/{run['id']}/tick")).json()
        assert {**ticked, "warnings": []} == run
    assert len(node_tasks(platform, run["id"])) == 2


def test_eight_callers_tick_at_once_while_a_run_goes_on(
    platform: ApiPlatform, client: httpx2.Client, made: Json
) -> None:
    run = submit(client, made, {"d": 0.012})
    url = f"/workflow-runs/{run['id']}/tick"
    with ThreadPoolExecutor(9) as pool:
        ticks = [pool.submit(client.post, url) for _ in range(32)]
        pool.submit(end, platform, run["id"], {"size": {"stress": 1e6}, "other": {"stress": 2e6}}).result()
        assert {check(tick.result()).json()["status"] for tick in ticks} == {"running"}
    end(platform, run["id"], {"check": {"ratio": 0.5}})
    ended = check(client.post(url)).json()
    assert (ended["status"], ended["terminal_outputs"]["check"]) == ("completed", {"ratio": 0.5})
    with platform.worker_database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Call).where(Call.run_id == UUID(run["id"]))) == 3


def test_required_inputs_that_are_missing_are_named(client: httpx2.Client, made: Json) -> None:
    for inputs in ({}, {"load": 1.0}, {"d": None}):
        answer = client.post(f"/workflows/{made['slug']}/runs", json={"inputs": inputs})
        assert (answer.status_code, answer.json()["detail"]) == (422, {"missing_required_inputs": ["d"]})
    assert client.get("/workflow-runs").json()["total"] == 0


@pytest.mark.parametrize(
    ("inputs", "place", "code"),
    [
        ({"d": "3 kg"}, "d", "unit_mismatch"),
        ({"d": 1.0, "x": 2}, "x", "unknown_input"),
        ({"d": [1]}, "d", "wrong_type"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    client: httpx2.Client, made: Json, inputs: Json, place: str, code: str
) -> None:
    answer = check(client.post(f"/workflows/{made['slug']}/runs", json={"inputs": inputs}))
    assert answer.status_code == 422
    assert [(item["loc"], item["type"]) for item in answer.json()["detail"]] == [(["body", place], code)]


@pytest.mark.parametrize(
    "options", [{"priority": 10}, {"failure_policy": "never"}, {"deadline_seconds": 0}, {"reuse": "all"}, {"when": 1}]
)
def test_options_of_a_run_are_judged(client: httpx2.Client, made: Json, options: Json) -> None:
    answer = check(client.post(f"/workflows/{made['slug']}/runs", json={"inputs": {"d": 1.0}, **options}))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", *options]


def test_a_version_may_be_named_and_the_newest_is_the_default(
    client: httpx2.Client, made: Json, package: factories.ReadyPackage
) -> None:
    newer = client.post(f"/workflows/{made['slug']}/versions", json=graph_of(package)).json()
    assert submit(client, made, {"d": 1.0})["workflow_version_id"] == newer["id"]
    assert submit(client, made, {"d": 1.0}, version=1)["workflow_version_id"] == made["version_id"]
    missing = client.post(f"/workflows/{made['slug']}/runs", json={"inputs": {"d": 1.0}, "version": 3})
    assert (missing.status_code, missing.json()["code"]) == (404, "version_not_found")
    by_id = client.post(f"/workflows/{made['id']}/runs", json={"inputs": {"d": 1.0}})
    assert check(by_id).status_code == 201


def test_the_same_key_starts_one_run(client: httpx2.Client, made: Json) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"inputs": {"d": 1.0}}
    first, second = (
        client.post(f"/workflows/{made['slug']}/runs", json=body, headers=headers).json() for _ in range(2)
    )
    assert first["id"] == second["id"]
    other = check(client.post(f"/workflows/{made['slug']}/runs", json={"inputs": {"d": 2.0}}, headers=headers))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_archived_and_empty_workflows_are_not_run(client: httpx2.Client, made: Json, slug: str) -> None:
    empty = client.post(
        "/workflows", json={"slug": factories.unique("w"), "name": "w", "organization_slug": slug}
    ).json()
    refused = check(client.post(f"/workflows/{empty['slug']}/runs", json={"inputs": {}}))
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_without_version")
    run = submit(client, made, {"d": 1.0})
    client.post(f"/workflows/{made['slug']}/archive")
    refused = check(client.post(f"/workflows/{made['slug']}/runs", json={"inputs": {"d": 1.0}}))
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_archived")
    assert check(client.get(f"/workflow-runs/{run['id']}")).status_code == 200


def test_a_yanked_function_is_warned_about_when_a_run_starts(
    platform: ApiPlatform, client: httpx2.Client, made: Json, package: factories.ReadyPackage
) -> None:
    assert submit(client, made, {"d": 1.0})["warnings"] == []
    with platform.worker_database.transaction() as session:
        session.get_one(Package, package.package_id).yanked_at = func.now()
    (warning,) = submit(client, made, {"d": 1.0})["warnings"]
    assert warning["code"] == "function_yanked"


def test_runs_are_listed_for_their_user(platform: ApiPlatform, client: httpx2.Client, made: Json, slug: str) -> None:
    runs = [submit(client, made, {"d": 1.0}) for _ in range(3)]
    end(platform, runs[0]["id"], {"size": {"stress": 1e6}, "other": {"stress": 2e6}})
    end(platform, runs[0]["id"], {"check": {"ratio": 0.5}})
    page = check(client.get("/workflow-runs", params={"limit": 2})).json()
    assert ([item["id"] for item in page["runs"]], page["total"]) == ([runs[2]["id"], runs[1]["id"]], 3)
    last = check(client.get("/workflow-runs")).json()["runs"][-1]
    assert (last["status"], last["workflow_slug"], last["duration_ms"] >= 0) == ("completed", made["slug"], True)
    colleague = platform.client(f"bob-{slug}", slug)
    assert check(colleague.get("/workflow-runs")).json() == {"runs": [], "total": 0}
    for limit in ("0", "201"):
        assert check(client.get("/workflow-runs", params={"limit": limit})).status_code == 422


def test_a_run_is_its_users(platform: ApiPlatform, client: httpx2.Client, made: Json, slug: str) -> None:
    run = submit(client, made, {"d": 1.0})
    other = factories.unique()
    colleague, stranger = platform.client(f"bob-{slug}", slug), platform.client(f"ann-{other}", other)
    with httpx2.Client(base_url=platform.url) as nobody:
        for method, path in (
            ("GET", ""),
            ("GET", "/plan"),
            ("POST", "/tick"),
            ("POST", "/qa-track"),
            ("POST", "/qa-untrack"),
        ):
            url = f"/workflow-runs/{run['id']}{path}"
            refused = check(colleague.request(method, url))
            assert (refused.status_code, refused.json()["code"]) == (403, "run_of_another")
            assert check(stranger.request(method, url)).status_code == 404
            assert check(nobody.request(method, url)).status_code == 401
            for absent in (uuid4(), "no-id"):
                assert check(client.request(method, f"/workflow-runs/{absent}{path}")).status_code == 404
        assert check(nobody.get("/workflow-runs")).status_code == 401
    body = {"inputs": {"d": 1.0}}
    assert check(stranger.post(f"/workflows/{made['id']}/runs", json=body)).status_code == 404
    viewer = platform.client(f"vic-{slug}", slug, roles=("viewer",))
    assert check(viewer.post(f"/workflows/{made['slug']}/runs", json=body)).status_code == 403
    assert check(colleague.post(f"/workflows/{made['slug']}/runs", json=body)).status_code == 201


def test_a_run_is_tracked_for_quality_once(client: httpx2.Client, made: Json) -> None:
    run = submit(client, made, {"d": 1.0})
    assert (run["qa_tracked"], run["qa_tracked_at"], run["qa_tracked_by"]) == (False, None, None)
    first, second = (check(client.post(f"/workflow-runs/{run['id']}/qa-track")).json() for _ in range(2))
    assert (first["qa_tracked"], first["qa_tracked_by"]) == (True, run["user_id"])
    assert second["qa_tracked_at"] == first["qa_tracked_at"]
    assert client.get("/workflow-runs").json()["runs"][0]["qa_tracked"]
    for _ in range(2):
        taken = check(client.post(f"/workflow-runs/{run['id']}/qa-untrack")).json()
        assert (taken["qa_tracked"], taken["qa_tracked_at"], taken["qa_tracked_by"]) == (False, None, None)


def test_large_inputs_come_back_as_given(client: httpx2.Client, slug: str, package: factories.ReadyPackage) -> None:
    graph = graph_of(package)
    graph["nodes"].append(input_node("notes", "Object", required=False))
    made = workflow(client, slug, graph)
    inputs = {"d": 1.0, "notes": ["x" * 1000] * 400}
    run = submit(client, made, inputs)
    assert run["inputs"] == inputs
    assert check(client.get(f"/workflow-runs/{run['id']}")).json()["inputs"] == inputs


def test_nodes_of_our_kinds_stand_beside_the_published_ones(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    doubled = node("double", "expression", expression="2 * s", ports={"s": "Stress"}, type_expr="Stress")
    graph = graph_of(package)
    graph["nodes"].append(doubled)
    graph["edges"].append(edge("other.stress", "double.s"))
    run = submit(client, workflow(client, slug, graph), {"d": 1.0})
    assert "double" not in run["node_states"]
    assert run["other_nodes"]["double"]["state"] == "pending"
    end(platform, run["id"], {"size": {"stress": 1e6}, "other": {"stress": 2e6}})
    end(platform, run["id"], {"check": {"ratio": 0.5}})
    ended = check(client.get(f"/workflow-runs/{run['id']}")).json()
    assert ended["terminal_outputs"] == {"check": {"ratio": 0.5}, "double": {"value": 4e6}}
