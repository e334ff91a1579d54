"""The client against a real HTTP server: retries, tokens, errors."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mecapy_platform.client.client import Client
from mecapy_platform.client.credentials import Credentials, CredentialsFile
from mecapy_platform.client.errors import ServerFaultError, StillRunningError
from mecapy_platform.client.retry import RetryPolicy, retry_after_seconds
from mecapy_platform.client.tasks import Submission
from mecapy_platform.client.tokens import StoredLogin, TokenFile
from mecapy_platform.core.errors import (
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    MecapyError,
    NotFoundError,
    QuotaExceededError,
    StorageFullError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from mecapy_platform.core.states import TaskState
from support.platform.fake_platform import TASK_ID, TOKEN, FakePlatform, Seen, problem, serve, task

SUBMISSION = Submission("bolts", "size", {"diameter": "12 mm"})


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with serve() as fake:
        yield fake


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(platform: FakePlatform, pauses: list[float]) -> Iterator[Client]:
    with Client(platform.url, TOKEN, pause=pauses.append) as made:
        yield made


def test_a_submission_goes_out_as_documented(platform: FakePlatform, client: Client) -> None:
    done = client.tasks.submit(SUBMISSION, wait_seconds=1)
    (seen,) = platform.calls("POST /tasks")
    assert done.state is TaskState.COMPLETED
    assert seen.json == {"package": "bolts", "function": "size", "inputs": {"diameter": "12 mm"}, "files": {}}
    assert seen.query == {"wait": "1"}


def test_a_submission_whose_answer_was_lost_is_repeated_with_the_same_key(
    platform: FakePlatform, client: Client
) -> None:
    platform.breaks["POST /tasks"] = 2
    client.tasks.submit(SUBMISSION)
    keys = [seen.headers["idempotency-key"] for seen in platform.calls("POST /tasks")]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_submissions_have_two_keys(platform: FakePlatform, client: Client) -> None:
    client.tasks.submit(SUBMISSION)
    client.tasks.submit(SUBMISSION)
    first, second = platform.calls("POST /tasks")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_platform_that_is_away_for_a_moment_is_asked_again_when_it_said(
    platform: FakePlatform, client: Client, pauses: list[float], status: int
) -> None:
    answers = iter([(*problem(status, "away", "Away."), {"Retry-After": "7"}), (200, task())])
    platform.on(f"GET /tasks/{TASK_ID}", lambda _: next(answers))
    assert client.tasks.get(TASK_ID).id == TASK_ID
    assert pauses == [7.0]


def test_a_call_that_may_not_be_repeated_is_not_repeated(platform: FakePlatform, client: Client) -> None:
    platform.breaks[f"POST /tasks/{TASK_ID}/retry"] = 1
    with pytest.raises(UnavailableError):
        client.tasks.retry(TASK_ID)
    assert len(platform.calls(f"POST /tasks/{TASK_ID}/retry")) == 1


def test_a_platform_that_is_not_there_is_said_to_be_unreachable(pauses: list[float]) -> None:
    with (
        Client("http://127.0.0.1:9", TOKEN, pause=pauses.append) as away,
        pytest.raises(UnavailableError, match="mecapy up") as caught,
    ):
        away.tasks.get(TASK_ID)
    assert caught.value.code == "platform_unreachable"
    assert len(pauses) == 4
    assert pauses[-1] > pauses[0]


@pytest.mark.parametrize(
    ("status", "family"),
    [
        (401, UnauthenticatedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, TooLargeError),
        (422, InvalidInputError),
        (429, QuotaExceededError),
        (500, ServerFaultError),
        (507, StorageFullError),
    ],
)
def test_problems_become_errors_of_their_family(
    platform: FakePlatform, client: Client, status: int, family: type[MecapyError]
) -> None:
    errors = [{"path": "inputs.load", "code": "unit", "message": "kg is no length"}]
    platform.on(f"GET /tasks/{TASK_ID}", problem(status, "stable", "What happened.", errors))
    with pytest.raises(family, match="What happened") as caught:
        client.tasks.get(TASK_ID)
    assert caught.value.code == "stable"
    assert [item.as_dict() for item in caught.value.problems] == errors


def test_validation_errors_of_published_paths_keep_their_place(platform: FakePlatform, client: Client) -> None:
    detail = [{"loc": ["body", "payload", "x"], "msg": "must be a number", "type": "float"}]
    platform.on("GET /packages", (422, {"detail": detail}))
    with pytest.raises(InvalidInputError) as caught:
        client.packages.all()
    assert caught.value.problems[0].path == "payload.x"


def test_a_page_that_is_no_platform_is_said_so(platform: FakePlatform, client: Client) -> None:
    platform.on("GET /packages", (200, b"<html>router login</html>"))
    with pytest.raises(ServerFaultError, match="not as a MecaPy platform"):
        client.packages.all()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://user:pw@host", "not an url"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not the address"):
        Client(url, TOKEN)


def test_waiting_survives_a_platform_that_goes_away(platform: FakePlatform, client: Client) -> None:
    answers = iter([task("queued"), task("running"), task("completed")])
    platform.on(f"GET /tasks/{TASK_ID}", lambda _: (200, next(answers)))
    platform.breaks[f"GET /tasks/{TASK_ID}"] = 7
    states: list[str] = []
    breaks: list[str] = []
    done = client.tasks.wait(
        TASK_ID, on_look=lambda item: states.append(item.state.value), on_break=lambda error: breaks.append(error.code)
    )
    assert done.state is TaskState.COMPLETED
    assert states == ["queued", "running", "completed"]
    assert breaks == ["platform_unreachable"]


def test_waiting_ends_when_its_time_is_over(platform: FakePlatform, client: Client) -> None:
    platform.on(f"GET /tasks/{TASK_ID}", (200, task("running")))
    with pytest.raises(StillRunningError, match="goes on"):
        client.tasks.wait(TASK_ID, timeout_seconds=0.05)


def test_a_bulk_submission_gives_each_member_a_key_and_a_verdict(platform: FakePlatform, client: Client) -> None:
    refused = {"code": "unknown_function", "detail": "No such function.", "errors": []}
    verdicts = [{"index": 0, "task": task(), "error": None}, {"index": 1, "task": None, "error": refused}]
    platform.on("POST /tasks/bulk", (200, {"results": verdicts, "accepted": 1, "refused": 1}))
    first, second = client.tasks.submit_bulk([SUBMISSION, SUBMISSION])
    keys = [item["idempotency_key"] for item in platform.calls("POST /tasks/bulk")[0].json["tasks"]]
    assert first.task is not None
    assert second.error == refused
    assert len(set(keys)) == 2


def test_listing_goes_page_by_page(platform: FakePlatform, client: Client) -> None:
    def answer(seen: Seen) -> tuple[int, dict[str, object]]:
        start = int(seen.query.get("cursor", "0"))
        limit = int(seen.query["limit"])
        return 200, {"tasks": [task(id=str(uuid.uuid4())) for _ in range(limit)], "next_cursor": str(start + limit)}

    platform.on("GET /tasks", answer)
    found = list(client.tasks.each({"state": "completed"}, limit=250))
    assert len({item.id for item in found}) == 250
    assert [seen.query["limit"] for seen in platform.calls("GET /tasks")] == ["200", "50"]


def test_logs_are_followed_to_their_end(platform: FakePlatform, client: Client) -> None:
    def answer(seen: Seen) -> tuple[int, dict[str, object]]:
        after = int(seen.query["after"])
        entry = {"index": after + 1, "attempt": 1, "kind": "stdout", "text": f"line {after + 1}\n", "created_at": None}
        return 200, {"entries": [entry], "next": after + 1, "done": after >= 2}

    platform.on(f"GET /tasks/{TASK_ID}/logs", answer)
    platform.breaks[f"GET /tasks/{TASK_ID}/logs"] = 6
    assert [entry.text for entry in client.logs.read(TASK_ID, follow=True)] == ["line 1\n", "line 2\n", "line 3\n"]


def test_a_token_file_is_read_again_after_a_refusal(platform: FakePlatform, tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    path.write_text('{"url": "http://x", "token": "old", "organization": "demo"}')
    source = TokenFile(path)
    assert source.token() == "old"
    path.write_text('{"url": "http://x", "token": "good-token", "organization": "demo"}')
    with Client(platform.url, source) as fresh:
        assert fresh.users.me().preferred_username == "ada"


def test_a_login_is_renewed_by_its_refresh_token_and_stored(platform: FakePlatform, tmp_path: Path) -> None:
    issuer = f"{platform.url}/realms/mecapy"
    platform.on(
        "GET /realms/mecapy/.well-known/openid-configuration",
        (200, {"issuer": issuer, "token_endpoint": f"{issuer}/token"}),
    )
    granted = {"access_token": TOKEN, "refresh_token": "second", "expires_in": 300}
    platform.on("POST /realms/mecapy/token", (200, granted))
    file = CredentialsFile(tmp_path / "c" / "credentials.json")
    stored = Credentials(platform.url, token="expired", refresh_token="first", issuer=issuer, client_id="public")
    file.store(stored, is_current=True)
    with Client(platform.url, StoredLogin(file, stored)) as client:
        client.users.me()
    kept = file.load().get(platform.url)
    assert kept is not None
    assert (kept.token, kept.refresh_token) == (TOKEN, "second")
    assert b"refresh_token=first" in platform.calls("POST /realms/mecapy/token")[0].body


def test_stored_logins_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    file = CredentialsFile(tmp_path / "credentials.json")
    file.store(Credentials("http://a", token="secret"))
    file.store(Credentials("http://b", token="other"))
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.load().current == "http://a"
    assert file.forget("http://a")
    assert [item.url for item in file.load().platforms] == ["http://b"]


def test_a_broken_file_of_logins_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="log in again"):
        CredentialsFile(path).load()


def test_the_back_off_grows_with_jitter_and_stays_bounded() -> None:
    policy = RetryPolicy(base_seconds=1, max_seconds=8)
    delays = [policy.delay_seconds(attempt) for attempt in range(1, 9)]
    ceilings = [1, 2, 4, 8, 8, 8, 8, 8]
    assert all(ceiling / 2 <= delay <= ceiling for delay, ceiling in zip(delays, ceilings, strict=True))
    assert policy.delay_seconds(1, "3600") == 60.0


@pytest.mark.parametrize(
    ("value", "expected"), [("5", 5.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("soon", None), (None, None)]
)
def test_retry_after_is_read_in_both_its_forms(value: str | None, expected: float | None) -> None:
    assert retry_after_seconds(value) == expected
