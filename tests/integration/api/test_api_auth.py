"""Who gets in, and whose rows they see."""

import base64
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mecapy_platform.embedded.tokens import key_id
from support import factories
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database

OTHER_KEY = rsa.generate_private_key(65537, 2048)


def claims(platform: ApiPlatform, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {
        "iss": platform.issuer,
        "sub": "s-1",
        "aud": "mecapy-api",
        "exp": now + 60,
        "iat": now,
        "preferred_username": "carl",
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def signed(payload: dict[str, Any], *, key: Any = None, algorithm: str = "RS256", kid: str | None = "right") -> str:
    headers = {"kid": key_id(factories.issuer_key().public_key()) if kid == "right" else kid} if kid else {}
    return jwt.encode(payload, key or factories.issuer_key(), algorithm=algorithm, headers=headers)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def me(platform: ApiPlatform, token: str) -> httpx2.Response:
    return httpx2.get(f"{platform.url}/auth/me", headers={"Authorization": f"Bearer {token}"})


def test_a_good_token_gets_in(platform: ApiPlatform) -> None:
    assert me(platform, signed(claims(platform))).json()["preferred_username"] == "carl"


def test_the_client_may_be_named_by_azp_instead_of_aud(platform: ApiPlatform) -> None:
    assert me(platform, signed(claims(platform, aud="account", azp="mecapy-api-public"))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.test/realms/mecapy"},
        {"iss": ["x"]},
        {"aud": "another", "azp": "another"},
        {"aud": None},
        {"exp": None},
        {"exp": 1},
        {"exp": "soon"},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
def test_a_token_with_wrong_claims_is_refused(platform: ApiPlatform, changes: dict[str, Any]) -> None:
    payload = claims(platform, **changes)
    header = base64.urlsafe_b64encode(
        json.dumps({"alg": "RS256", "kid": key_id(factories.issuer_key().public_key())}).encode()
    ).rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=")
    mac = jwt.get_algorithm_by_name("RS256").sign(header + b"." + body, factories.issuer_key())
    token = b".".join((header, body, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()
    answer = me(platform, token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_of_another_key_or_algorithm_is_refused(platform: ApiPlatform) -> None:
    payload = claims(platform)
    public = jwt.encode(payload, "a shared secret of thirty-two bytes", algorithm="HS256", headers={"kid": "x"})
    unsigned = f"{part({'alg': 'none'})}.{part(payload)}."
    tokens = [
        signed(payload, key=OTHER_KEY),
        signed(payload, kid="unknown"),
        signed(payload, kid=None),
        public,
        unsigned,
    ]
    assert [me(platform, token).status_code for token in tokens] == [401] * 5


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "Bearer a.b.c", "Bearer " + "x" * 20_000, "Bearer é"])
def test_what_is_no_token_is_refused(platform: ApiPlatform, header: str) -> None:
    answer = httpx2.get(f"{platform.url}/auth/me", headers=[(b"Authorization", header.encode("latin-1"))])
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.json()["code"] in {"token_missing", "token_untrusted"}


def test_a_header_names_the_organization_and_a_foreign_one_is_absent(platform: ApiPlatform) -> None:
    mine, theirs = factories.unique(), factories.unique()
    platform.client(f"own-{theirs}", theirs).get("/tasks")
    client = platform.client(f"own-{mine}", mine)
    assert client.get("/tasks", headers={"MecaPy-Organization": mine}).status_code == 200
    foreign = client.get("/tasks", headers={"MecaPy-Organization": theirs})
    absent = client.get("/tasks", headers={"MecaPy-Organization": "none-such"})
    assert (foreign.status_code, foreign.json()) == (404, absent.json())


def test_leaving_an_organization_in_the_token_leaves_it_here(platform: ApiPlatform) -> None:
    slug = factories.unique()
    inside = platform.client(f"ann-{slug}", slug).get("/organizations").json()["total"]
    outside = platform.client(f"ann-{slug}").get("/organizations").json()["total"]
    assert (inside, outside) == (1, 0)


def test_a_foreign_thing_answers_exactly_as_an_absent_one(platform: ApiPlatform) -> None:
    slug, other = factories.unique(), factories.unique()
    owner, stranger = platform.client(f"ann-{slug}", slug), platform.client(f"sam-{other}", other)
    actor = platform.actor(f"ann-{slug}", slug)
    package = factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    body = {"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}}
    task = owner.post("/tasks", json=body).json()["id"]
    factories.end_task(platform.worker_database, task)
    paths = [
        ("GET", "/tasks/{task}"), ("GET", "/tasks/{task}/result"), ("GET", "/tasks/{task}/logs"),
        ("GET", "/tasks/{task}/artifacts"),
        ("POST", "/tasks/{task}/cancel"), ("POST", "/tasks/{task}/retry"), ("GET", "/jobs/{task}"),
        ("GET", "/jobs/{task}/result"),
        ("GET", "/jobs/{task}/logs"), ("GET", "/jobs/{task}/artifacts"), ("GET", "/packages/{package}"),
        ("GET", "/packages/{package}/versions"), ("GET", "/function-versions/{function}"),
        ("POST", "/packages/{package}/archive"),
        ("POST", "/packages/{package}/unarchive"), ("POST", "/packages/{package}/yank"),
        ("POST", "/packages/{package}/unyank"),
    ]  # fmt: skip
    ids = {"task": task, "package": str(package.package_id), "function": str(package.functions["size"])}
    for method, path in paths:
        foreign = stranger.request(method, path.format(**ids))
        absent = stranger.request(method, path.format(**{name: str(uuid4()) for name in ids}))
        assert foreign.status_code == 404, (method, path, foreign.text)
        for item in (foreign, absent):
            assert item.json()["instance"]
        assert {k: v for k, v in foreign.json().items() if k != "instance"} == {
            k: v for k, v in absent.json().items() if k != "instance"
        }
        assert owner.request(method, path.format(**ids)).status_code < 300 or "unarchive" in path, (method, path)
    submitted = stranger.post(f"/packages/{ids['package']}/functions/size/execute", json={"payload": {"diameter": 1}})
    assert submitted.status_code == 404
    assert ids["task"] not in stranger.get("/tasks").text + stranger.get("/jobs").text


def test_a_viewer_looks_but_starts_nothing(platform: ApiPlatform) -> None:
    slug = factories.unique()
    actor = platform.actor(f"ann-{slug}", slug)
    factories.ready_package(platform.worker_database, actor.organization.organization_id, actor.user_id)
    owner, viewer = platform.client(f"ann-{slug}", slug), platform.client(f"eve-{slug}", slug, roles=("viewer",))
    body = {"package": "bolts", "function": "size", "inputs": {"diameter": 0.01}}
    task = owner.post("/tasks", json=body).json()["id"]
    assert viewer.get(f"/tasks/{task}").status_code == 200
    answers = [
        viewer.post("/tasks", json=body),
        viewer.post(f"/tasks/{task}/cancel"),
        viewer.post(f"/tasks/{task}/retry"),
    ]
    assert [answer.status_code for answer in answers] == [403, 403, 403]


def test_an_issuer_elsewhere_is_found_by_discovery(platform: ApiPlatform, tmp_path: Path) -> None:
    with (
        fresh_database() as server,
        api_platform(server, tmp_path, issuers=(platform.issuer,), embedded_issuer_key=None) as other,
    ):
        token = platform.token("ann")
        assert httpx2.get(f"{other.url}/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        forged = signed(claims(platform), key=OTHER_KEY)
        assert httpx2.get(f"{other.url}/auth/me", headers={"Authorization": f"Bearer {forged}"}).status_code == 401
