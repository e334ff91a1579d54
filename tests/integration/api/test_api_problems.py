"""Whatever is sent, the answer is a problem document with a stable code, never a 500."""

import re
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database, postgres

FIELDS = {"type", "title", "status", "code", "detail", "errors", "instance"}


@pytest.fixture(scope="module")
def slug() -> str:
    return factories.unique()


@pytest.fixture(scope="module")
def client(platform: ApiPlatform, slug: str) -> httpx2.Client:
    actor = platform.actor(f"ann-{slug}", slug)
    factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    return platform.client(f"ann-{slug}", slug)


def send(client: httpx2.Client, content: bytes, path: str = "/tasks") -> httpx2.Response:
    return client.post(path, content=content, headers={"Content-Type": "application/json"})


HOSTILE = {
    "deep list": b'{"inputs": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "deep object": b'{"inputs": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
    "huge integer": b'{"inputs": {"x": ' + b"9" * 5000 + b"}}",
    "integer beyond a float": b'{"inputs": {"x": ' + b"9" * 305 + b"}}",
    "huge float": b'{"inputs": {"x": 1e999}}',
    "not a number": b'{"inputs": {"x": NaN}}',
    "nul": b'{"package": "bo\\u0000lts", "function": "size"}',
    "nul in a key": b'{"inputs": {"\\u0000": 1}}',
    "half a surrogate": b'{"package": "\\ud800", "function": "size"}',
    "not UTF-8": b'{"package": "\xff"}',
    "cut off": b'{"package": ',
    "empty": b"",
    "null": b"null",
    "a list": b"[1, 2]",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", ["/tasks", "/tasks/bulk", "/types/check-connection", "/organizations"])
def test_hostile_bodies_are_refused(client: httpx2.Client, name: str, path: str) -> None:
    answer = send(client, HOSTILE[name], path)
    assert answer.status_code in {400, 422}, answer.text
    assert set(answer.json()) == FIELDS
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"priority": 10}, "priority"),
        ({"priority": "5"}, "priority"),
        ({"priority": True}, "priority"),
        ({"name": "x" * 256}, "name"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"files": {"deck": "no-id"}}, "files.deck"),
        ({"colour": "red"}, "colour"),
        ({"function": ""}, "function"),
        ({"inputs": {"diameter": "12 kg"}}, "diameter"),
    ],
)
def test_each_mistake_is_named_by_its_path(client: httpx2.Client, changes: dict[str, Any], path: str) -> None:
    body = {"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}, **changes}
    answer = client.post("/tasks", json=body)
    assert answer.status_code == 422, answer.text
    assert path in {error["path"] for error in answer.json()["errors"]}
    assert isinstance(answer.json()["detail"], str)


def test_all_mistakes_come_at_once(client: httpx2.Client) -> None:
    answer = client.post("/tasks", json={"priority": 99, "name": "", "surprise": 1})
    assert {error["path"] for error in answer.json()["errors"]} == {
        "package",
        "function",
        "priority",
        "name",
        "surprise",
    }


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/no-id",
        "/tasks/no-id/result",
        "/jobs/no-id",
        "/packages/no-id",
        "/function-versions/no-id",
        "/nowhere",
        "/tasks/%00",
        "/storage/../x",
        "/workflows/no-id",
    ],
)
def test_an_address_that_cannot_be_is_absent(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, set(answer.json())) == (404, FIELDS)


@pytest.mark.parametrize(
    "query",
    [
        "/tasks?limit=0",
        "/tasks?limit=201",
        "/tasks?limit=x",
        "/tasks?state=none",
        "/tasks?cursor=zzz",
        "/tasks?package=a%00b",
        "/jobs?limit=9999",
        "/packages?page=0",
    ],
)
def test_bad_parameters_are_refused(client: httpx2.Client, query: str) -> None:
    answer = client.get(query)
    assert (answer.status_code, set(answer.json())) == (422, FIELDS)


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "1e9", "x"])
def test_a_wait_is_a_bounded_number(client: httpx2.Client, wait: str) -> None:
    assert client.get(f"/tasks/{uuid4()}", params={"wait": wait}).status_code == 422


def test_a_key_is_bounded(client: httpx2.Client) -> None:
    body = {"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}}
    assert client.post("/tasks", json=body, headers={"Idempotency-Key": "k" * 201}).status_code == 422


def test_another_method_is_refused(client: httpx2.Client) -> None:
    answer = client.delete("/tasks")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    limits: dict[str, Any] = {"body_bytes": 10_000, "archive_bytes": 20_000, "upload_bytes": 30_000}
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("small"), **limits) as running:
        yield running


def test_bodies_above_the_limit_are_refused_with_and_without_a_length(small: ApiPlatform) -> None:
    client = small.client("ann")
    body = b'{"inputs": "' + b"x" * 20_000 + b'"}'
    known = send(client, body)
    chunked = client.post(
        "/tasks", content=iter([body[:9_000], body[9_000:]]), headers={"Content-Type": "application/json"}
    )
    assert [(item.status_code, item.json()["code"]) for item in (known, chunked)] == [(413, "body_too_large")] * 2


def test_archives_above_the_limit_are_refused(small: ApiPlatform) -> None:
    client = small.client("ann")
    just_above = client.post("/packages/from-zip", files={"file": ("a.zip", b"x" * 20_001, "application/zip")})
    far_above = client.post("/packages/from-zip", files={"file": ("a.zip", b"x" * 4_000_000, "application/zip")})
    assert [item.status_code for item in (just_above, far_above)] == [413, 413]


def test_a_large_body_without_a_token_is_refused_unread(small: ApiPlatform) -> None:
    answer = httpx2.post(f"{small.url}/packages/from-zip", files={"file": ("a.zip", b"x" * 15_000, "application/zip")})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")


def test_a_wrong_multipart_body_is_refused(small: ApiPlatform) -> None:
    client = small.client("ann")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for content in (b"", b"--b\r\nnonsense", b"--b--", b"x" * 100):
        assert client.post("/packages/from-zip", content=content, headers=headers).status_code in {400, 422}


def test_on_a_full_disk_files_are_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    with fresh_database() as server, api_platform(server, tmp_path, disk_floor_bytes=1 << 60) as full:
        client = full.client("ann")
        answers = [
            client.post("/packages/from-zip", files={"file": ("a.zip", factories.archive(), "application/zip")}),
            client.post("/upload/archive", files={"file": ("a.zip", b"x" * 3_000_000, "application/zip")}),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(507, "storage_full")] * 2
        assert client.get("/packages").json()["total"] == 0
        assert httpx2.get(f"{full.url}/ready").status_code == 503
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "issuer.pem"]


def test_without_a_database_the_answer_is_unavailable_and_quick(tmp_path: Path) -> None:
    with postgres() as server, api_platform(server, tmp_path) as running:
        client = running.client("ann")
        assert client.get("/tasks").status_code == 200
        server.stop()
        answer = client.get("/tasks")
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "2")
        assert answer.elapsed.total_seconds() < 6
        assert client.get("/health").status_code == 200


def test_waiting_requests_survive_a_restart_of_the_database(tmp_path: Path) -> None:
    with postgres() as server, api_platform(server, tmp_path) as running:
        actor = running.actor("ann", "acme")
        factories.ready_package(running.worker_database, actor.organization.organization_id, actor.user_id)
        client = running.client("ann", "acme")
        body = {"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}}
        task = client.post("/tasks", json=body).json()["id"]
        server.stop()
        server.start()
        ending = threading.Timer(0.5, factories.end_task, (running.worker_database, task))
        ending.start()
        answer = client.get(f"/tasks/{task}/result", params={"wait": 20})
        assert answer.status_code == 200, answer.text
        assert answer.elapsed.total_seconds() < 10


def test_a_sender_that_goes_away_in_the_middle_does_no_harm(platform: ApiPlatform, client: httpx2.Client) -> None:
    address = urlsplit(platform.url)
    lines = [
        "POST /tasks HTTP/1.1",
        "Host: x",
        f"Authorization: {client.headers['authorization']}",
        "Content-Type: application/json",
    ]
    head = "\r\n".join([*lines, "Content-Length: 500", "", ""])
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + b'{"pack')
    assert client.get("/tasks").status_code == 200


def test_ready_names_each_part(platform: ApiPlatform) -> None:
    assert httpx2.get(f"{platform.url}/ready").json() == {"status": "ready", "parts": {"storage": "ok"}}


def test_the_page_of_routes_needs_no_other_server(platform: ApiPlatform) -> None:
    page = httpx2.get(f"{platform.url}/docs").text
    assert "/packages/{package_id}/functions/{function_name}/execute" in page
    assert "<script" not in page
    assert "src=" not in page


def test_the_pages_of_the_api_ask_no_other_server_for_anything(platform: ApiPlatform) -> None:
    with httpx2.Client(base_url=platform.url) as stranger:
        page = stranger.get("/docs")
        assert page.status_code == 200
        assert not re.search(r"(src|href)=[\"']?(https?:)?//|<script|@import|url\(", page.text)
        assert {stranger.get(path).status_code for path in ("/docs/interactive", "/redoc")} == {404}
