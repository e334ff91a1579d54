"""Our own task paths, over HTTP and real PostgreSQL."""

import threading
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import text

from mecapy_platform.core.states import TaskState
from mecapy_platform.db import queue
from mecapy_platform.db.tables import Function, Task
from support import factories
from support.platform.api_platform import ApiPlatform


@pytest.fixture(scope="module")
def slug() -> str:
    return factories.unique()


@pytest.fixture(scope="module")
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug, organization=slug)


@pytest.fixture(scope="module")
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    return factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)


def submit(client: httpx2.Client, **changes: Any) -> dict[str, Any]:
    body = {"package": "bolts", "function": "size", "inputs": {"diameter": "12 mm"}, **changes}
    answer = client.post("/tasks", json=body)
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


def test_a_submitted_task_is_queued_with_its_inputs_in_si(
    client: httpx2.Client, package: factories.ReadyPackage, slug: str
) -> None:
    task = submit(client, name="first", priority=7)
    assert (task["state"], task["name"], task["priority"], task["function"]) == ("queued", "first", 7, "size")
    assert task["inputs"] == {"diameter": pytest.approx(0.012)}
    assert task["package"] == {"id": str(package.package_id), "name": "bolts", "version": "1.2.0", "owner": slug}
    shown = client.get(f"/tasks/{task['id']}").json()
    assert shown["waiting"]["code"] == "no_worker"
    assert shown["provenance"]["inputs_digest"]


@pytest.mark.usefixtures("package")
def test_a_task_that_waits_behind_another_one_for_a_worker_that_is_there_says_so(
    platform: ApiPlatform, client: httpx2.Client
) -> None:
    with platform.worker_database.transaction() as session:
        factories.see_node(session, "large")
        seen: dict[str, Any] = {
            "name": "large-1",
            "node": "large",
            "lane": None,
            "backend": "fake",
            "abilities": [],
            "away": [],
        }
        accepting = {"accepts_work": True, "refusal_code": None, "refusal": None, "software_version": "1"}
        session.execute(queue.SEE_WORKER, {**seen, **accepting})
    try:
        submit(client)
        shown = client.get(f"/tasks/{submit(client)['id']}").json()
        assert shown["waiting"]["code"] == "behind_others"
    finally:
        with platform.worker_database.transaction() as session:  # other tests count on there being none
            session.execute(text("DELETE FROM workers WHERE node = 'large'"))
            session.execute(text("DELETE FROM nodes WHERE name = 'large'"))


def test_the_answer_comes_the_moment_the_task_ends(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    task = submit(client)
    ending = threading.Timer(0.3, factories.end_task, (platform.worker_database, UUID(task["id"])))
    ending.start()
    answer = client.get(f"/tasks/{task['id']}/result", params={"wait": 30})
    assert answer.status_code == 200
    assert answer.json()["result"] == {"stress": 1.0}
    assert answer.elapsed.total_seconds() < 5
    assert client.get(f"/tasks/{task['id']}").json()["usage"] == {
        "wall_seconds": 0.25,
        "cpu_seconds": 0.2,
        "peak_memory_mb": 32.0,
    }


def test_a_wait_ends_with_its_seconds(client: httpx2.Client, package: factories.ReadyPackage) -> None:
    task = submit(client)
    answer = client.get(f"/tasks/{task['id']}", params={"wait": 0.2})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    early = client.get(f"/tasks/{task['id']}/result", params={"wait": 0.1})
    assert (early.status_code, early.json()["code"]) == (409, "task_not_finished")


def test_the_same_key_makes_one_task_and_another_body_is_refused(
    client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    body = {"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}}
    headers = {"Idempotency-Key": uuid4().hex}
    first = client.post("/tasks", json=body, headers=headers)
    again = client.post("/tasks", json=body, headers=headers)
    other = client.post("/tasks", json={**body, "priority": 9}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["id"] == again.json()["id"]
    assert other.json()["code"] == "idempotency_conflict"


def test_bulk_gives_each_member_its_own_verdict(client: httpx2.Client, package: factories.ReadyPackage) -> None:
    good = {"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}, "idempotency_key": uuid4().hex}
    members = [
        good,
        {**good, "function": "none", "idempotency_key": "k2"},
        {"package": "bolts", "surprise": 1},
        17,
        good,
    ]
    answer = client.post("/tasks/bulk", json={"tasks": members})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["accepted"], found["refused"]) == (2, 3)
    assert [result["error"]["code"] if result["error"] else None for result in found["results"]] == [
        None, "function_not_found", "invalid_request", "invalid_request", None,
    ]  # fmt: skip
    assert found["results"][0]["task"]["id"] == found["results"][4]["task"]["id"]
    assert {error["path"] for error in found["results"][2]["error"]["errors"]} == {"function", "surprise"}


def test_lists_are_paged_newest_first_without_gap_or_double(
    client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    made = [submit(client, name=f"paged-{number}")["id"] for number in range(5)]
    seen: list[str] = []
    cursor = None
    while len(seen) < 5:
        answer = client.get("/tasks", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [task["id"] for task in answer["tasks"]]
        cursor = answer["next_cursor"]
    assert seen[:5] == made[::-1]


def test_lists_are_narrowed(client: httpx2.Client, package: factories.ReadyPackage) -> None:
    task = submit(client)
    client.post(f"/tasks/{task['id']}/cancel")
    found = client.get("/tasks", params={"state": "cancelled", "function": "size", "package": "bolts"}).json()["tasks"]
    assert task["id"] in {item["id"] for item in found}
    assert client.get("/tasks", params={"package": "nuts"}).json()["tasks"] == []


def test_cancelling_twice_answers_the_same_and_retrying_makes_another(
    client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    task = submit(client)
    first = client.post(f"/tasks/{task['id']}/cancel")
    second = client.post(f"/tasks/{task['id']}/cancel")
    assert (first.status_code, first.json()["state"]) == (200, "cancelled")
    assert second.json() == first.json()
    retried = client.post(f"/tasks/{task['id']}/retry")
    assert (retried.status_code, retried.json()["retry_of"]) == (201, task["id"])
    assert retried.json()["inputs"] == task["inputs"]
    early = client.post(f"/tasks/{retried.json()['id']}/retry")
    assert (early.status_code, early.json()["code"]) == (409, "task_not_finished")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            "UPDATE package_versions SET status = 'error', error_message = 'stopped' WHERE id = :version",
            "version_broken",
        ),
        ("UPDATE packages SET archived_at = now() WHERE id = :package", "package_archived"),
        ("UPDATE packages SET visibility = 'private', owner_id = uuidv7() WHERE id = :package", "package_private"),
    ],
)
def test_what_may_not_be_submitted_any_more_may_not_be_retried(platform: ApiPlatform, change: str, code: str) -> None:
    slug = factories.unique()
    actor, client = platform.actor(f"eve-{slug}", slug), platform.client(f"eve-{slug}", slug, organization=slug)
    made = factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    task = submit(client)
    client.post(f"/tasks/{task['id']}/cancel")
    values = {name: value for name, value in vars(made).items() if f":{name.removesuffix('_id')} " in f"{change} "}
    with platform.worker_database.transaction() as session:
        session.execute(text(change), {name.removesuffix("_id"): value for name, value in values.items()})
    answer = client.post(f"/tasks/{task['id']}/retry")
    assert (answer.status_code in {403, 409}, answer.json()["code"]) == (True, code)


def test_a_task_cancelled_while_building_is_retried_with_checked_inputs_or_waits(platform: ApiPlatform) -> None:
    slug = factories.unique()
    actor, client = platform.actor(f"bea-{slug}", slug), platform.client(f"bea-{slug}", slug, organization=slug)
    made = factories.ready_package(
        platform.worker_database,
        actor.organization.organization_id,
        actor.user_id,
        functions={"size": {}},
        status="building",
    )
    cancelled = [submit(client, inputs=inputs)["id"] for inputs in ({"diameter": "12 mm"}, {"nonsense": 1})]
    for task_id in cancelled:
        client.post(f"/tasks/{task_id}/cancel")
    waiting = client.post(f"/tasks/{cancelled[0]}/retry").json()
    with platform.worker_database.transaction() as session:
        assert session.get_one(Task, UUID(waiting["id"])).claimable is False
        session.execute(text("UPDATE package_versions SET status = 'ready' WHERE id = :id"), {"id": made.version_id})
        session.get_one(Function, made.functions["size"]).inputs = {"diameter": factories.LENGTH}
    ready = client.post(f"/tasks/{cancelled[0]}/retry")
    assert (ready.status_code, ready.json()["inputs"]) == (201, {"diameter": pytest.approx(0.012)})
    refused = client.post(f"/tasks/{cancelled[1]}/retry")
    assert (refused.status_code, refused.json()["code"]) == (422, "inputs_invalid")


def test_logs_are_read_from_an_offset_and_say_when_they_are_done(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    task = submit(client)
    log = (("stdout", "one\n"), ("progress", '{"step": 1}'), ("stderr", "two\n"))
    factories.end_task(platform.worker_database, UUID(task["id"]), factories.End(log=log))
    part = client.get(f"/tasks/{task['id']}/logs", params={"limit": 2}).json()
    assert [entry["text"] for entry in part["entries"]] == ["one\n", '{"step": 1}']
    assert not part["done"]
    rest = client.get(f"/tasks/{task['id']}/logs", params={"after": part["next"]}).json()
    assert [entry["kind"] for entry in rest["entries"]] == ["stderr"]
    assert rest["done"]


def test_artifacts_are_downloaded_by_signed_address_alone(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    task = submit(client)
    key = f"org/{package.organization_id}/task/{task['id']}/attempt/1/artifact/b%20%25.txt"
    with open(__file__, "rb") as source:  # noqa: PTH123 - any file will do
        stored = platform.storage.put(key, source)
    file = ("artifact", "b %.txt", "b %.txt", key, stored.size_bytes)
    factories.end_task(platform.worker_database, UUID(task["id"]), factories.End(files=(file,)))
    found = client.get(f"/tasks/{task['id']}/artifacts").json()["artifacts"]
    answer = httpx2.get(found[0]["url"])
    assert answer.status_code == 200
    assert len(answer.content) == stored.size_bytes
    assert answer.headers["content-disposition"].startswith("attachment")
    assert httpx2.get(found[0]["url"], headers={"Range": "bytes=0-9"}).content == answer.content[:10]
    assert httpx2.get(found[0]["url"].replace("filename=b", "filename=c")).status_code == 403
    assert httpx2.get(found[0]["url"].partition("?")[0]).status_code == 403


def test_a_large_result_is_read_from_storage(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage, tmp_path: Any
) -> None:
    task = submit(client)
    key = f"org/{package.organization_id}/task/{task['id']}/attempt/1/result.json"
    path = tmp_path / "result.json"
    path.write_bytes(factories.as_json({"values": list(range(1000))}))
    with path.open("rb") as source:
        platform.storage.put(key, source)
    factories.end_task(platform.worker_database, UUID(task["id"]), factories.End(result=None, result_key=key))
    assert client.get(f"/tasks/{task['id']}/result").json()["result"]["values"][-1] == 999


def test_a_failed_task_says_why(platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage) -> None:
    task = submit(client)
    end = factories.End(state=TaskState.OUT_OF_MEMORY, result=None, error=("memory_limit", "Used more than 512 MiB."))
    factories.end_task(platform.worker_database, UUID(task["id"]), end)
    answer = client.get(f"/tasks/{task['id']}/result").json()
    assert (answer["state"], answer["result"]) == ("out_of_memory", None)
    assert answer["error"] == {"code": "memory_limit", "message": "Used more than 512 MiB."}


def test_every_submit_cancel_and_retry_gives_a_hint(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    before = len(platform.hints)
    task = submit(client)
    client.post(f"/tasks/{task['id']}/cancel")
    client.post(f"/tasks/{task['id']}/retry")
    assert len(platform.hints) == before + 3
