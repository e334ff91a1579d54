"""The life of workflows over the published paths: archived, deleted, used by others, found."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import func, select

from mecapy_platform.core.workflows.states import RunState, StudyState
from mecapy_platform.db.tables import Package
from mecapy_platform.db.workflow_tables import Call, RunNode, Study, WorkflowRun, WorkflowVersionUse
from support import factories
from support.graphs import edge, function_node, input_node, node
from support.platform.api_platform import ApiPlatform
from support.platform.published_contract import check

Json = dict[str, Any]


@pytest.fixture
def slug() -> str:
    return factories.unique()


@pytest.fixture
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug)


@pytest.fixture
def colleague(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"bob-{slug}", slug)


@pytest.fixture
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    return factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)


def make(client: httpx2.Client, organization: str | None, name: str | None = None) -> Json:
    name = name or factories.unique("w")
    asked = {"slug": name, "name": "A check", "description": "of bolts", "organization_slug": organization}
    answer = check(client.post("/workflows", json=asked))
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def graph_of(package: factories.ReadyPackage, **more: Any) -> Json:
    nodes = [
        input_node("d", "Length"),
        input_node("load", "Force", required=False, default="20 kN"),
        {**function_node("size", package.functions["size"]), "position_x": 120, "custom_label": "Size"},
    ]
    return {"nodes": nodes, "edges": [edge("d.value", "size.diameter"), edge("load.value", "size.load")], **more}


def save(client: httpx2.Client, workflow: Json, graph: Json) -> Json:
    """Conformity is judged on graphs of published kinds; ours are further values of `node_kind`."""
    answer = client.post(f"/workflows/{workflow['slug']}/versions", json=graph)
    assert answer.status_code == 201, answer.text
    saved: Json = answer.json()
    if {item.get("node_kind", "function") for item in graph["nodes"]} <= {"function", "input"}:
        check(answer)
    return saved


def test_archived_workflows_leave_the_list_and_take_no_versions(
    client: httpx2.Client, colleague: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    save(client, made, graph_of(package))
    first, second = (check(client.post(f"/workflows/{made['slug']}/archive")).json() for _ in range(2))
    assert first["archived_at"] == second["archived_at"] is not None
    assert made["id"] not in client.get("/workflows").text
    assert made["id"] in client.get("/workflows", params={"include_archived": True}).text
    assert made["id"] not in colleague.get("/workflows", params={"include_archived": True}).text
    refused = check(client.post(f"/workflows/{made['slug']}/versions", json=graph_of(package)))
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_archived")
    assert check(colleague.get(f"/workflows/{made['slug']}")).status_code == 200
    for _ in range(2):
        assert check(client.post(f"/workflows/{made['slug']}/unarchive")).json()["archived_at"] is None
    save(client, made, graph_of(package))


def run_of(platform: ApiPlatform, workflow: Json, package: factories.ReadyPackage, **columns: Any) -> WorkflowRun:
    run = WorkflowRun(
        **{
            "organization_id": package.organization_id,
            "user_id": uuid4(),
            "workflow_id": workflow["id"],
            "workflow_version_id": workflow["version_id"],
            "plan": {},
            "visibility_snapshot": "private",
            "state": RunState.PENDING,
            **columns,
        }
    )
    with platform.worker_database.transaction() as session:
        session.add(run)
        session.flush()
        session.refresh(run)
        session.expunge(run)
    return run


def test_a_workflow_is_deleted_in_two_steps_with_all_that_it_has(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    made["version_id"] = save(client, made, graph_of(package))["id"]
    early = check(client.delete(f"/workflows/{made['slug']}"))
    assert (early.status_code, early.json()["code"]) == (409, "not_archived")
    client.post(f"/workflows/{made['slug']}/archive")
    run = run_of(platform, made, package)
    live = check(client.delete(f"/workflows/{made['slug']}"))
    assert (live.status_code, live.json()["code"]) == (409, "workflow_runs_live")
    with platform.worker_database.transaction() as session:
        kept = session.get_one(WorkflowRun, run.id)
        kept.state, kept.qa_tracked_at = RunState.COMPLETED, func.now()
        row = RunNode(organization_id=run.organization_id, run_id=run.id, place=0, key="size", kind="function")
        session.add(row)
        session.flush()
        common = {"organization_id": run.organization_id, "run_id": run.id, "node_id": row.id}
        session.add(Call(function_id=package.functions["size"], **common))
    tracked = check(client.delete(f"/workflows/{made['slug']}"))
    assert (tracked.status_code, tracked.json()["code"]) == (409, "qa_tracked_runs_exist")
    with platform.worker_database.transaction() as session:
        session.get_one(WorkflowRun, run.id).qa_tracked_at = None
    assert check(client.delete(f"/workflows/{made['slug']}")).status_code == 200
    with platform.worker_database.transaction() as session:
        for table, of in ((WorkflowRun, WorkflowRun.id), (RunNode, RunNode.run_id), (Call, Call.run_id)):
            assert session.scalar(select(func.count()).select_from(table).where(of == run.id)) == 0
    assert check(client.get(f"/workflows/{made['id']}")).status_code == 404


def test_a_workflow_is_a_node_of_others_and_is_kept_while_it_is(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    inner, middle, outer = (make(client, slug) for _ in range(3))
    version_id = save(client, inner, graph_of(package))["id"]

    def around(version_id: str, **more: Any) -> Json:
        nodes = [input_node("d", "Length"), node("in", "workflow", workflow_version_id=version_id)]
        return {"nodes": nodes, "edges": [edge("d.value", "in.d")], **more}

    second = save(client, middle, around(version_id))["id"]
    save(client, outer, around(second))
    shown = client.get(f"/workflows/{outer['slug']}").json()
    assert shown["visibility_effective"] == f"internal@{slug}"
    client.post(f"/workflows/{inner['slug']}/archive")
    used = check(client.delete(f"/workflows/{inner['slug']}"))
    assert (used.status_code, used.json()["code"]) == (409, "workflow_in_use")
    warned = client.post(f"/workflows/{middle['slug']}/validate", json=around(version_id)).json()
    assert [item["code"] for item in warned["warnings"]] == ["workflow_archived"]
    for version in (version_id, second):
        circular = client.post(f"/workflows/{inner['slug']}/validate", json=around(version)).json()
        assert [item["code"] for item in circular["nesting"]] == ["workflow_contains_itself"]


def test_nine_workflows_in_one_another_are_too_many(
    client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    version_id = save(client, make(client, slug), graph_of(package))["id"]
    for _ in range(8):
        nodes = [input_node("d", "Length"), node("in", "workflow", workflow_version_id=version_id)]
        graph = {"nodes": nodes, "edges": [edge("d.value", "in.d")]}
        version_id = save(client, make(client, slug), graph)["id"]
    nodes[1]["workflow_version_id"] = version_id
    report = client.post(f"/workflows/{make(client, slug)['slug']}/validate", json=graph).json()
    assert [item["code"] for item in report["nesting"]] == ["nesting_too_deep"]


def test_a_study_that_has_not_ended_keeps_its_workflow(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    version_id = save(client, made, graph_of(package))["id"]
    client.post(f"/workflows/{made['slug']}/archive")
    with platform.worker_database.transaction() as session:
        own = {"organization_id": package.organization_id, "user_id": uuid4(), "workflow_version_id": version_id}
        study = Study(name="s", design={}, **own)
        session.add(study)
        session.flush()
        study_id = study.id
    assert check(client.delete(f"/workflows/{made['slug']}")).json()["code"] == "workflow_in_use"
    with platform.worker_database.transaction() as session:
        session.get_one(Study, study_id).state = StudyState.CANCELLED
    assert check(client.delete(f"/workflows/{made['slug']}")).status_code == 200


def test_what_a_version_uses_is_noted(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    inner, outer = make(client, slug), make(client, slug)
    version_id = save(client, inner, graph_of(package))["id"]
    nodes = [input_node("d", "Length"), node("in", "workflow", workflow_version_id=version_id)]
    outer_id = save(client, outer, {"nodes": nodes, "edges": [edge("d.value", "in.d")]})["id"]
    with platform.worker_database.transaction() as session:
        uses = session.scalars(
            select(WorkflowVersionUse).where(WorkflowVersionUse.workflow_version_id == outer_id)
        ).all()
        found = {(str(use.function_id), str(use.used_version_id)) for use in uses}
    assert found == {(str(package.functions["size"]), "None"), ("None", version_id)}


def test_a_yanked_function_is_warned_about_and_goes_on_working(
    platform: ApiPlatform, client: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    assert save(client, made, graph_of(package))["warnings"] == []
    with platform.worker_database.transaction() as session:
        session.get_one(Package, package.package_id).yanked_at = func.now()
    (warning,) = save(client, made, graph_of(package))["warnings"]
    assert (warning["code"], warning["node_key"]) == ("function_yanked", "size")


def test_workflows_are_found_by_owner_and_slug(
    client: httpx2.Client, colleague: httpx2.Client, slug: str, package: factories.ReadyPackage
) -> None:
    made = make(client, slug)
    asked = {"owner": slug, "slug": made["slug"]}
    assert client.get("/registry/lookup/workflow", params=asked).status_code == 404
    for _ in range(2):
        save(client, made, graph_of(package))
    found = client.get("/registry/lookup/workflow", params=asked)
    assert found.json() == {"workflow_id": made["id"], "slug": made["slug"], "owner": slug, "version": "2"}
    assert client.get("/registry/lookup/workflow", params={**asked, "version": "1"}).json()["version"] == "1"
    for version in ("3", "1.0", "x", "-1"):
        assert client.get("/registry/lookup/workflow", params={**asked, "version": version}).status_code == 404
    own = make(client, None)
    save(client, own, graph_of(package))
    asked = {"owner": f"ann-{slug}", "slug": own["slug"]}
    assert client.get("/registry/lookup/workflow", params=asked).json()["workflow_id"] == own["id"]
    assert colleague.get("/registry/lookup/workflow", params=asked).status_code == 404


def test_lists_are_cut_and_counted(client: httpx2.Client, slug: str) -> None:
    made = [make(client, slug) for _ in range(3)]
    page = check(client.get("/workflows", params={"limit": 2})).json()
    assert ([item["id"] for item in page["workflows"]], page["total"]) == ([made[2]["id"], made[1]["id"]], 3)
    for limit in ("0", "201", "x"):
        assert check(client.get("/workflows", params={"limit": limit})).status_code == 422
