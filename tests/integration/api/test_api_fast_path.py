"""The fast path of a submit answers as the full path does, notices what names mean now, and holds many who wait."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import text

from mecapy_platform.api import fast_path, fast_render
from mecapy_platform.core.events import TaskFinished, TaskQueued
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db.fast_path import WORKER_STATEMENTS
from mecapy_platform.db.wire import Wire
from mecapy_platform.services import claims
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.services.fast_finish import EndedAttempt, fast_finish
from mecapy_platform.services.finish import Outcome
from mecapy_platform.services.tasks.fast_path import Draft
from support import factories
from support.platform.api_platform import ApiPlatform
from support.reading_events import events_read_back

BODY = {"package": "bolts", "function": "size", "inputs": {"diameter": "12 mm"}}
READERS = 500


@pytest.fixture
def slug() -> str:
    return factories.unique()


@pytest.fixture
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    return platform.client(f"ann-{slug}", slug, organization=slug)


@pytest.fixture
def package(platform: ApiPlatform, slug: str) -> factories.ReadyPackage:
    actor = platform.actor(f"ann-{slug}", slug)
    return factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)


def transactions(platform: ApiPlatform, task_id: str) -> str:
    """The id of the transaction that wrote a task's row."""
    with platform.worker_database.transaction() as session:
        return str(session.scalar(text("SELECT xmin FROM tasks WHERE id = :id"), {"id": task_id}))


def same_shape(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and list(one) == list(other)
            and all(same_shape(one[name], other[name]) for name in one)
        )
    return type(one) is type(other)


def test_both_ways_answer_in_the_same_shape(client: httpx2.Client, package: factories.ReadyPackage) -> None:
    long, short = (client.post("/tasks", json=BODY) for _ in range(2))
    assert (long.status_code, short.status_code) == (201, 201)
    assert same_shape(long.json(), short.json())
    volatile = ("id", "created_at")
    assert {**long.json(), **dict.fromkeys(volatile)} == {**short.json(), **dict.fromkeys(volatile)}
    assert long.headers.keys() == short.headers.keys()
    assert long.headers["content-type"] == short.headers["content-type"]


def test_both_ways_write_the_same_events_and_each_is_one_that_readers_know(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    ids = [UUID(client.post("/tasks", json=BODY).json()["id"]) for _ in range(2)]
    assert transactions(platform, str(ids[0])) != transactions(platform, str(ids[1]))
    for task_id in ids:
        assert client.post(f"/tasks/{task_id}/cancel").status_code == 200
    told = events_read_back(platform.worker_database)
    of_each = [[record for task, record in told if task == task_id] for task_id in ids]
    ended = TaskFinished(TaskState.CANCELLED, "cancelled", 0, None, None, None)
    assert of_each == [[TaskQueued(Lane.DEFAULT), ended]] * 2


def test_an_ended_task_is_shown_alike(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    task_id = client.post("/tasks", json=BODY).json()["id"]
    factories.end_task(
        platform.worker_database, UUID(task_id), factories.End(result={"stress": 1.5, "text": "µ \u2028 \U0001f600"})
    )
    long, short = client.get(f"/tasks/{task_id}"), client.get(f"/tasks/{task_id}", params={"wait": 5})
    assert short.json()["state"] == "completed"
    assert list(long.json()) == list(short.json())
    without_times = [
        {name: value for name, value in item.json().items() if not name.endswith("_at")} for item in (long, short)
    ]
    assert without_times[0] == without_times[1]


@pytest.mark.parametrize("size", [10, 9000], ids=["told_with_the_ring", "looked_up"])
def test_who_waits_with_the_submit_is_told_what_a_look_would_show(
    platform: ApiPlatform,
    client: httpx2.Client,
    package: factories.ReadyPackage,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rings: list[str] = []

    def render_end_notice(draft: Draft, created_at: datetime, told: str) -> bytes:
        rings.append(told)
        return fast_render.render_end_notice(draft, created_at, told)

    monkeypatch.setattr(fast_path, "render_end_notice", render_end_notice)
    assert client.post("/tasks", json=BODY).status_code == 201  # from here on the fast path knows the name
    with platform.worker_database.transaction() as session:
        factories.see_node(session, "hot", cpu=1000, memory_mb=1 << 20)
        session.execute(text("UPDATE tasks SET claimable = false, state = 'cancelled' WHERE claimable"))
    result = {"stress": 1.5, "large": 1e300, "text": "µ \u2028 \U0001f600" + "x" * size}
    wire = Wire(platform.settings.database_worker_url, WORKER_STATEMENTS)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, "/tasks", json=BODY, params={"wait": 30})
        fast_claim = FastClaim(
            wire, platform.worker_database, Worker("hot", "hot-1", "fake"), platform.settings.queue_rules, Lane.DEFAULT
        )
        claimed: list[Claim] = []
        while not claimed:
            with fast_claim.claim(1) as found:
                claimed += found or ()
            if found is None:  # the first of its lane
                with platform.worker_database.transaction() as session:
                    claimed += claims.claim(
                        session, Worker("hot", "hot-1", "fake"), Lane.DEFAULT, 1, platform.settings.queue_rules
                    )
        with fast_finish(
            wire, [EndedAttempt(claimed[0].token, Outcome(None, Usage(0.25, 0.125, 32.5), result=result))]
        ):
            pass
        told = waiting.result(60)
    wire.close()
    with platform.worker_database.transaction() as session:
        session.execute(text("DELETE FROM nodes WHERE name = 'hot'"))  # other tests count on there being none
    shown = client.get(f"/tasks/{claimed[0].task_id}")
    assert (told.status_code, told.json()["result"]) == (201, result)
    assert len(rings) == (1 if size < 1000 else 0)
    assert told.json() == shown.json()
    assert list(told.json()) == list(shown.json())


def test_callers_of_one_moment_share_a_transaction(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    client.post("/tasks", json=BODY)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.post("/tasks", json=BODY), range(64)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({transactions(platform, answer.json()["id"]) for answer in answers}) < 64


def test_a_new_version_counts_from_the_next_call_on(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    for _ in range(2):
        assert client.post("/tasks", json=BODY).json()["package"]["version"] == "1.2.0"
    with platform.worker_database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO package_versions (organization_id, package_id, version, manifest, archive_key, "
                "archive_sha256, created_by, "
                "status, runtime) SELECT organization_id, package_id, '9.0.0', '{}', 'k', 's', created_by, 'error', "
                "'3.11' "
                "FROM package_versions WHERE id = :id"
            ),
            {"id": package.version_id},
        )
        session.execute(
            text("UPDATE package_versions SET status = 'error', error_message = 'x' WHERE id = :id"),
            {"id": package.version_id},
        )
    refused = client.post("/tasks", json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (409, "version_broken")


def test_an_archived_package_is_refused_from_the_next_call_on(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    for _ in range(2):
        assert client.post("/tasks", json=BODY).status_code == 201
    with platform.worker_database.transaction() as session:
        session.execute(text("UPDATE packages SET archived_at = now() WHERE id = :id"), {"id": package.package_id})
    refused = client.post("/tasks", json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (409, "package_archived")


def test_a_full_queue_is_refused_with_its_code(
    platform: ApiPlatform, client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    client.post("/tasks", json=BODY)
    with platform.worker_database.transaction() as session:
        session.execute(
            text("INSERT INTO lane_shares (lane, organization_id, queued) VALUES ('default', :id, 1000000000)"),
            {"id": package.organization_id},
        )
    refused = client.post("/tasks", json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")


def test_a_wrong_input_is_refused_in_the_same_words(client: httpx2.Client, package: factories.ReadyPackage) -> None:
    wrong = {**BODY, "inputs": {"diameter": "12 kg"}}
    before = client.post("/tasks", json=wrong)
    client.post("/tasks", json=BODY)
    after = client.post("/tasks", json=wrong)
    assert (before.status_code, before.json()) == (after.status_code, after.json())


def test_five_hundred_who_wait_are_answered_by_one_process(
    platform: ApiPlatform, client: httpx2.Client, slug: str
) -> None:
    actor = platform.actor(f"ann-{slug}", slug)
    factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    tasks = [client.post("/tasks", json=BODY).json()["id"] for _ in range(READERS // 10)]
    headers = dict(client.headers)

    async def wait_all() -> list[dict[str, Any]]:
        limits = httpx2.Limits(max_connections=READERS)
        async with httpx2.AsyncClient(base_url=platform.url, headers=headers, timeout=60, limits=limits) as many:

            async def one(number: int) -> dict[str, Any]:
                answer = await many.get(f"/tasks/{tasks[number % len(tasks)]}", params={"wait": 50})
                found: dict[str, Any] = answer.json()
                return found

            waiting = [asyncio.create_task(one(number)) for number in range(READERS)]
            ending = threading.Timer(3.0, end_all)
            ending.start()
            return list(await asyncio.gather(*waiting))

    def end_all() -> None:
        for task_id in tasks:
            factories.end_task(platform.worker_database, UUID(task_id))

    began = time.monotonic()
    found = asyncio.run(wait_all())
    assert {item["state"] for item in found} == {"completed"}
    assert time.monotonic() - began < 45, "they were answered by the end of their wait, not by the end of their tasks"


def test_a_body_that_cannot_be_taken_short_is_handed_on_whole(
    client: httpx2.Client, package: factories.ReadyPackage
) -> None:
    client.post("/tasks", json=BODY)
    keyed = client.post("/tasks", json=BODY, headers={"Idempotency-Key": uuid4().hex})
    named = client.post(
        "/tasks", content=json.dumps(BODY).encode(), headers={"Content-Type": "application/json; charset=utf-8"}
    )
    broken = client.post("/tasks", content=b'{"package":', headers={"Content-Type": "application/json"})
    assert (keyed.status_code, named.status_code) == (201, 201)
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_json")
