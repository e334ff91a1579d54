"""Inputs and results above 256 KiB: they lie in storage, and no list, no look and no wait loads them."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import event, func, select, text, update

from mecapy_platform.db.tables import StoredValue, Task
from mecapy_platform.services.tasks.requests import inputs_digest
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database

DATA = {"type": "Object", "description": None, "required": True}
TAKES = {"take": {"inputs": {"data": DATA}, "outputs": {"stress": factories.STRESS}}}
LARGE = {"data": {"numbers": list(range(60_000)), "text": '\u00e9 " \\ \u2028'}}
SMALL = {"data": {"numbers": [1, 2.5, 1e300]}}
NAMES_VALUES = re.compile(r"\b(tasks|t)\.(inputs|result|files)\b")


@pytest.fixture(scope="module")
def slug() -> str:
    return factories.unique()


@pytest.fixture(scope="module")
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    organization_id = actor.organization.organization_id
    return factories.ready_package(platform.worker_database, organization_id, actor.user_id, functions=TAKES)


@pytest.fixture(scope="module")
def client(platform: ApiPlatform, slug: str, package: factories.ReadyPackage) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug, organization=slug)


def submit(client: httpx2.Client, inputs: object, **query: Any) -> dict[str, Any]:
    asked = {"package": "bolts", "function": "take", "inputs": inputs}
    answer = client.post("/tasks", json=asked, params=query)
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


def row(platform: ApiPlatform, task_id: str) -> tuple[object, UUID | None]:
    with platform.worker_database.transaction() as session:
        inputs, ref = session.execute(select(Task.inputs, Task.inputs_ref).where(Task.id == UUID(task_id))).one()
    return inputs, ref


def objects(platform: ApiPlatform) -> set[str]:
    folder = platform.settings.data_dir / "storage" / "objects"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def end(platform: ApiPlatform, task_id: str, result: object) -> None:
    """As a worker ends it; a large result is in storage."""
    text_ = json.dumps(result).encode()
    key = f"org/x/task/{task_id}/attempt/1/result.json"
    factories.end_task(platform.worker_database, UUID(task_id), factories.End(result=None))
    with platform.worker_database.transaction() as session:
        if len(text_) <= platform.settings.row_value_bytes:
            session.execute(update(Task).where(Task.id == UUID(task_id)).values(result=result))
            return
        platform.storage.put(key, factories.source_of(text_))
        organization_id = session.scalars(select(Task.organization_id).where(Task.id == UUID(task_id))).one()
        value = StoredValue(organization_id=organization_id, key=key, size_bytes=len(text_), sha256="0" * 64)
        session.add(value)
        session.flush()
        session.execute(update(Task).where(Task.id == UUID(task_id)).values(result_ref=value.id))


@contextmanager
def statements(platform: ApiPlatform) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(platform.app_database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(platform.app_database.engine, "before_cursor_execute", note)


def test_large_inputs_lie_in_storage_and_are_given_back_as_they_were(
    platform: ApiPlatform, client: httpx2.Client
) -> None:
    task = submit(client, LARGE)
    inputs, ref = row(platform, task["id"])
    assert (inputs, task["inputs"]) == (None, None)
    with platform.worker_database.transaction() as session:
        value = session.get_one(StoredValue, ref)
    with platform.storage.open(value.key) as source:
        assert json.load(source) == LARGE
    assert task["provenance"]["inputs_digest"] == inputs_digest(LARGE, {})
    assert client.get(f"/tasks/{task['id']}/inputs").json() == LARGE


def test_small_inputs_lie_in_their_row(platform: ApiPlatform, client: httpx2.Client) -> None:
    task = submit(client, SMALL)
    assert row(platform, task["id"]) == (SMALL, None)
    assert task["inputs"] == SMALL
    assert client.get(f"/tasks/{task['id']}").json()["inputs"] == SMALL
    assert client.get(f"/tasks/{task['id']}/inputs").json() == SMALL


@pytest.mark.parametrize("inputs", [LARGE, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("result", [{"stress": 1.5}, {"stress": list(range(60_000))}], ids=["small", "large"])
def test_every_way_to_look_at_a_task_tells_the_same(
    platform: ApiPlatform, client: httpx2.Client, inputs: Any, result: Any
) -> None:
    task = submit(client, inputs)
    looks = [client.get(f"/tasks/{task['id']}", params=query).json() for query in ({}, {"wait": 0.01})]
    assert looks[0] == looks[1]
    end(platform, task["id"], result)
    looks = [client.get(f"/tasks/{task['id']}", params=query).json() for query in ({}, {"wait": 5})]
    assert looks[0] == looks[1]
    is_small = len(json.dumps(result)) < 1000
    assert looks[0]["result"] == (result if is_small else None)
    assert looks[0]["inputs"] == (inputs if inputs is SMALL else None)
    assert client.get(f"/tasks/{task['id']}/result").json()["result"] == result
    job = client.get(f"/jobs/{task['id']}/result").json()
    assert (job["inputs"], job["result"]) == (inputs, result)


def test_files_stand_beside_a_large_result_as_beside_a_small_one(platform: ApiPlatform, client: httpx2.Client) -> None:
    content = bytes(range(256)) * 1000
    stored = platform.storage.put("org/x/report", factories.source_of(content))
    file = ("file", "report", "report.csv", stored.key, stored.size_bytes)
    other = ("artifact", "plot", "plot.png", stored.key, stored.size_bytes)
    answers = []
    for result in ({}, {"stress": 1.5}, {"stress": list(range(60_000))}):
        task = submit(client, SMALL)
        factories.end_task(platform.worker_database, UUID(task["id"]), factories.End(result=None, files=(file, other)))
        with platform.worker_database.transaction() as session:
            session.execute(update(Task).where(Task.id == UUID(task["id"])).values(result=result))
        found = client.get(f"/jobs/{task['id']}/result").json()["result"]
        assert {name: found[name] for name in result} == result
        answers.append({name: value for name, value in found.items() if name not in result})
    assert answers[0]["_output_files"] == answers[1]["_output_files"] == answers[2]["_output_files"]
    assert set(answers[2]) == {"_output_files", "_artifacts"}


def test_no_list_and_no_look_at_many_tasks_names_their_values(platform: ApiPlatform, client: httpx2.Client) -> None:
    tasks = [submit(client, inputs) for inputs in (LARGE, SMALL)]
    with statements(platform) as seen:
        listed = client.get("/tasks").json()["tasks"]
        client.get("/jobs").raise_for_status()
        for task in tasks:
            client.get(f"/jobs/{task['id']}").raise_for_status()
            client.get(f"/tasks/{task['id']}/logs", params={"wait": 0.01}).raise_for_status()
            client.get(f"/tasks/{task['id']}/artifacts").raise_for_status()
    assert {task["id"] for task in tasks} <= {item["id"] for item in listed}
    assert {(item["inputs"], item["files"], item["result"]) for item in listed} == {(None, None, None)}
    assert any("FROM tasks" in item for item in seen)
    assert [item for item in seen if NAMES_VALUES.search(item)] == []


def test_who_waits_for_a_task_loads_no_values_before_its_end(platform: ApiPlatform, client: httpx2.Client) -> None:
    """The answer itself names them, with a bound on their size in the statement."""
    task = submit(client, LARGE)
    with statements(platform) as seen:
        client.get(f"/tasks/{task['id']}", params={"wait": 2}).raise_for_status()
        assert client.get(f"/tasks/{task['id']}/result", params={"wait": 2}).status_code == 409
    named = {item for item in seen if re.search(r"\b(tasks|t)\.(inputs|result)\b", item)}
    assert len(named) == 1
    assert all("octet_length(t.inputs::text) <= " in item for item in named)


def test_a_bulk_submit_and_a_repeated_one_show_no_values(platform: ApiPlatform, client: httpx2.Client) -> None:
    members = [
        {"package": "bolts", "function": "take", "inputs": inputs, "idempotency_key": factories.unique("k")}
        for inputs in (LARGE, SMALL, LARGE)
    ]
    first = client.post("/tasks/bulk", json={"tasks": members}).json()
    again = client.post("/tasks/bulk", json={"tasks": members}).json()
    ids = [result["task"]["id"] for result in first["results"]]
    assert [result["task"]["id"] for result in again["results"]] == ids
    assert {item["task"]["inputs"] for item in (*first["results"], *again["results"])} == {None}
    assert [client.get(f"/tasks/{item}/inputs").json() for item in ids] == [LARGE, SMALL, LARGE]


def test_a_repeated_submit_stores_nothing_again(platform: ApiPlatform, client: httpx2.Client) -> None:
    asked = {"package": "bolts", "function": "take", "inputs": LARGE}
    headers = {"Idempotency-Key": factories.unique("k")}
    first = client.post("/tasks", json=asked, headers=headers)
    before = objects(platform)
    again = client.post("/tasks", json=asked, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["id"], objects(platform)) == (first.json()["id"], before)


def test_a_retry_shares_the_large_inputs_of_its_task(platform: ApiPlatform, client: httpx2.Client) -> None:
    task = submit(client, LARGE)
    end(platform, task["id"], {"stress": 1.5})
    before = objects(platform)
    again = client.post(f"/tasks/{task['id']}/retry")
    assert again.status_code == 201, again.text
    assert row(platform, again.json()["id"]) == row(platform, task["id"])
    assert again.json()["provenance"] == task["provenance"]
    assert objects(platform) == before
    assert client.get(f"/tasks/{again.json()['id']}/inputs").json() == LARGE


def test_large_inputs_that_were_never_checked_are_not_shared(platform: ApiPlatform, client: httpx2.Client) -> None:
    task = submit(client, LARGE)
    client.post(f"/tasks/{task['id']}/cancel").raise_for_status()
    with platform.worker_database.transaction() as session:
        session.execute(text("UPDATE package_versions SET built_at = now() + interval '1 hour'"))
    try:
        answer = client.post(f"/tasks/{task['id']}/retry")
    finally:
        with platform.worker_database.transaction() as session:
            session.execute(text("UPDATE package_versions SET built_at = NULL"))
    assert (answer.status_code, answer.json()["code"]) == (409, "inputs_not_checked")


def test_values_that_an_earlier_version_left_in_rows_are_read_too(platform: ApiPlatform, client: httpx2.Client) -> None:
    task = submit(client, SMALL)
    with platform.worker_database.transaction() as session:
        session.execute(update(Task).where(Task.id == UUID(task["id"])).values(inputs=LARGE))
    factories.end_task(platform.worker_database, UUID(task["id"]), factories.End(result={"stress": LARGE["data"]}))
    for query in ({}, {"wait": 5}):
        shown = client.get(f"/tasks/{task['id']}", params=query).json()
        assert (shown["inputs"], shown["result"]) == (None, None)
    assert client.get(f"/tasks/{task['id']}/inputs").json() == LARGE
    assert client.get(f"/tasks/{task['id']}/result").json()["result"] == {"stress": LARGE["data"]}
    job = client.get(f"/jobs/{task['id']}/result").json()
    assert (job["inputs"], job["result"]) == (LARGE, {"stress": LARGE["data"]})
    again = client.post(f"/tasks/{task['id']}/retry")
    assert again.status_code == 201, again.text
    assert row(platform, again.json()["id"]) == (LARGE, None)


def test_another_organization_sees_no_values(platform: ApiPlatform, client: httpx2.Client) -> None:
    task = submit(client, LARGE)
    other = factories.unique()
    with platform.client(f"bob-{other}", other, organization=other) as stranger:
        assert stranger.get(f"/tasks/{task['id']}/inputs").status_code == 404
        assert stranger.get(f"/jobs/{task['id']}/result").status_code == 404


def test_a_full_disk_refuses_large_inputs_and_keeps_nothing_of_them(tmp_path: Path) -> None:
    with (
        fresh_database() as server,
        api_platform(server, tmp_path, disk_floor_bytes=1 << 60) as platform,
        platform.client("ann", "full", organization="full") as client,
    ):
        actor = platform.actor("ann", "full")
        organization_id = actor.organization.organization_id
        factories.ready_package(platform.worker_database, organization_id, actor.user_id, functions=TAKES)
        asked = {"package": "bolts", "function": "take", "inputs": LARGE}
        answer = client.post("/tasks", json=asked)
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert objects(platform) == set()
        with platform.worker_database.transaction() as session:
            assert session.scalar(select(func.count()).select_from(StoredValue)) == 0
            assert session.scalar(select(func.count()).select_from(Task)) == 0
