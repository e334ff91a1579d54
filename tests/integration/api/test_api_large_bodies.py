"""Bodies above 64 KiB: served by a process of their own, with the answers that small ones get."""

import json
import threading
from typing import Any
from uuid import UUID

import httpx2
import pytest

from mecapy_platform.db.tables import Task
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database

LARGE = 200_000


@pytest.fixture(scope="module")
def slug() -> str:
    return factories.unique()


@pytest.fixture(scope="module")
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    client = platform.client(f"ann-{slug}", slug, organization=slug)
    actor = platform.actor(f"ann-{slug}", slug)
    factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    return client


def body(**changes: Any) -> bytes:
    asked = {"package": "bolts", "function": "size", "inputs": {"diameter": "12 mm"}, **changes}
    return json.dumps(asked).encode().ljust(LARGE)


def post(client: httpx2.Client, content: bytes, **more: Any) -> httpx2.Response:
    return client.post("/tasks", content=content, headers={"Content-Type": "application/json"}, **more)


def test_a_large_submit_is_answered_as_a_small_one(platform: ApiPlatform, client: httpx2.Client) -> None:
    hints = len(platform.hints)
    large, small = post(client, body()), post(client, body().strip())
    assert (large.status_code, small.status_code) == (201, 201), large.text
    assert set(large.json()) == set(small.json())
    assert large.json()["inputs"] == small.json()["inputs"]
    assert large.json()["provenance"] == small.json()["provenance"]
    assert len(platform.hints) == hints + 2
    assert client.get(f"/tasks/{large.json()['id']}").json()["state"] == "queued"


def test_a_large_submit_may_wait_for_its_end(platform: ApiPlatform, client: httpx2.Client) -> None:
    answers: list[httpx2.Response] = []
    asking = threading.Thread(target=lambda: answers.append(post(client, body(name="waits"), params={"wait": 60})))
    asking.start()
    while not (tasks := [task for task in client.get("/tasks").json()["tasks"] if task["name"] == "waits"]):
        pass
    factories.end_task(platform.worker_database, UUID(tasks[0]["id"]))
    asking.join(60)
    assert (answers[0].status_code, answers[0].json()["result"]) == (201, {"stress": 1.0})


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (body(inputs={"diameter": "12 N"}), 422, "inputs_invalid"),
        (body(inputs={}), 422, "inputs_invalid"),
        (body(more=1), 422, "invalid_request"),
        (body(package="nonesuch"), 404, "package_not_found"),
        (b'{"package": "a", "package": "b"}'.ljust(LARGE), 400, "malformed_json"),
        (b"[" * LARGE, 400, "malformed_json"),
        (b"{" + b'"a":1,' * 300_000 + b'"a":1}', 400, "malformed_json"),
    ],
)
def test_a_large_body_is_refused_as_a_small_one(client: httpx2.Client, content: bytes, status: int, code: str) -> None:
    answer = post(client, content)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_a_large_body_in_chunks_is_read_too(client: httpx2.Client) -> None:
    content = body()
    pieces = (content[start : start + 10_000] for start in range(0, len(content), 10_000))
    answer = client.post("/tasks", content=pieces, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text


def test_a_repeated_key_of_a_large_submit_gives_the_task_it_made(client: httpx2.Client) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": factories.unique()}
    answers = [client.post("/tasks", content=body(), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_a_body_is_not_read_for_a_sender_without_a_token(platform: ApiPlatform) -> None:
    with httpx2.Client(base_url=platform.url) as stranger:
        answers = [
            stranger.post(path, content=b"[" * size, headers={"Content-Type": "application/json"})
            for path in ("/tasks", "/types/check-connection", "/nothing")
            for size in (10_000, LARGE)
        ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "token_missing")}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    limits: dict[str, Any] = {"large_body_memory_mb": 48, "large_body_seconds": 1.5}
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("narrow"), **limits) as running:
        yield running


@pytest.mark.parametrize(
    "content",
    [b"[" + b"[]," * (2 << 20) + b"1]", b'{"a":[' + b'{"b":1},' * (2 << 20) + b"1]}"],
    ids=["memory", "memory and time"],
)
def test_a_body_that_costs_too_much_to_read_is_refused_and_costs_the_next_nothing(
    narrow: ApiPlatform, content: bytes
) -> None:
    with narrow.client("ann") as client:
        answers = [post(client, content) for _ in range(2)]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(413, "body_too_complex")}
        assert client.get("/tasks").status_code == 200
    with narrow.worker_database.transaction() as session:
        assert session.query(Task).count() == 0
