"""The command line as a person and a script meet it: output, exit codes, advice. Against a real HTTP server."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mecapy_platform.cli.lazy import JSON_MODE
from mecapy_platform.cli.main import ENTRIES, app
from support.platform.fake_platform import FUNCTION, TASK_ID, TOKEN, FakePlatform, problem, result, serve, task


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with serve() as fake:
        yield fake


class Shell:
    """Runs `mecapy` in this process with an environment of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, **environment: str) -> Result:
        token = JSON_MODE.set(False)
        try:
            return CliRunner().invoke(app, list(arguments), env={**self.environment, **environment})
        finally:
            JSON_MODE.reset(token)


@pytest.fixture
def mecapy(platform: FakePlatform, tmp_path: Path) -> Shell:
    names = ("ORGANIZATION", "ISSUER", "CLIENT_ID", "CLIENT_SECRET", "DEBUG")
    unset = {f"MECAPY_{name}": "" for name in names}
    here = {
        "MECAPY_API_URL": platform.url,
        "MECAPY_TOKEN": TOKEN,
        "MECAPY_CREDENTIALS": str(tmp_path / "credentials.json"),
    }
    return Shell(unset | here)


def test_a_result_is_a_table_with_units(mecapy: Shell, platform: FakePlatform) -> None:
    done = mecapy(
        "run",
        "bolts:size",
        "diameter=12 mm",
        "load=20kN",
        "--set",
        "vector=[1,2,3]",
        "--priority",
        "7",
        "--timeout",
        "30",
    )
    assert done.exit_code == 0, done.stderr
    cells = " ".join(done.stdout.split())
    assert "stress 150 MPa" in cells
    assert "reactions [1, 2, 3] N" in cells
    assert "peak memory 33 MiB" in done.stderr
    (seen,) = platform.calls("POST /tasks")
    assert seen.json["inputs"] == {"diameter": "12 mm", "load": "20kN", "vector": [1, 2, 3]}
    assert (seen.json["priority"], seen.json["timeout_seconds"]) == (7, 30)


def test_json_output_is_json_alone(mecapy: Shell) -> None:
    done = mecapy("run", "bolts:size", "diameter=12 mm", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["result"]["stress"] == 1.5e8


def test_waiting_says_each_change_and_why_a_task_waits(mecapy: Shell, platform: FakePlatform) -> None:
    states = iter(
        [
            task("queued", waiting={"code": "quota", "message": "4 of 4 tasks of your organization run"}),
            task("running", progress={"step": 2, "total": 5, "message": "solving"}),
            task(),
        ]
    )
    platform.on("POST /tasks", (201, task("queued")))
    platform.on(f"GET /tasks/{TASK_ID}", lambda _: (200, next(states)))
    done = mecapy("run", "bolts:size")
    assert done.exit_code == 0
    assert "queued: 4 of 4 tasks of your organization run" in done.stderr
    assert "running · step 2 of 5, solving" in done.stderr


@pytest.mark.parametrize(
    ("state", "code"), [("failed", 1), ("cancelled", 1), ("out_of_memory", 1), ("lost", 1), ("timeout", 6)]
)
def test_how_a_task_ended_is_the_exit_code(mecapy: Shell, platform: FakePlatform, state: str, code: int) -> None:
    error = {"code": "user_error", "message": "ValueError: diameter must be above 0"}
    platform.on("POST /tasks", (201, task(state, error=error)))
    platform.on(f"GET /tasks/{TASK_ID}/result", (200, result(None, state, error=error)))
    done = mecapy("run", "bolts:size", "diameter=0")
    assert done.exit_code == code
    assert "diameter must be above 0" in done.stderr
    assert f"mecapy logs {TASK_ID}" in done.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(401, 3), (403, 3), (404, 4), (409, 7), (413, 7), (422, 7), (500, 5), (429, 5)]
)
def test_what_the_platform_refuses_has_its_exit_code_and_all_its_problems(
    mecapy: Shell, platform: FakePlatform, status: int, code: int
) -> None:
    errors = [
        {"path": f"inputs.{name}", "code": "unit", "message": f"wrong unit {name}"} for name in ("load", "length")
    ]
    platform.on("POST /tasks", problem(status, "some_code", "Two inputs are wrong.", errors))
    done = mecapy("run", "bolts:size", "load=12 kg")
    assert done.exit_code == code
    assert "Two inputs are wrong." in done.stderr
    assert "inputs.load: wrong unit load" in done.stderr
    assert "inputs.length: wrong unit length" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_in_json_mode_is_json_too(mecapy: Shell, platform: FakePlatform) -> None:
    platform.on(
        "POST /tasks", problem(422, "invalid_inputs", "Wrong.", [{"path": "inputs.x", "code": "unit", "message": "no"}])
    )
    done = mecapy("run", "bolts:size", "--json")
    assert done.exit_code == 7
    assert json.loads(done.stdout)["error"]["problems"][0]["path"] == "inputs.x"


def test_a_platform_that_is_away_has_exit_code_5(mecapy: Shell) -> None:
    done = mecapy("whoami", MECAPY_API_URL="http://127.0.0.1:9")
    assert done.exit_code == 5
    assert "mecapy up" in done.stderr


def test_without_a_login_the_next_step_is_said(mecapy: Shell) -> None:
    done = mecapy("tasks", MECAPY_API_URL="", MECAPY_TOKEN="")
    assert done.exit_code == 3
    assert "mecapy login" in done.stderr


def test_patience_that_ends_leaves_the_task_running_and_says_so(mecapy: Shell, platform: FakePlatform) -> None:
    platform.on("POST /tasks", (201, task("running")))
    platform.on(f"GET /tasks/{TASK_ID}", (200, task("running")))
    done = mecapy("run", "bolts:size", "--wait", "0.05")
    assert done.exit_code == 6
    assert f"mecapy cancel {TASK_ID}" in done.stderr


def test_detached_runs_print_the_id_alone(mecapy: Shell, platform: FakePlatform) -> None:
    platform.on("POST /tasks", (201, task("queued")))
    done = mecapy("run", "bolts:size", "--detach")
    assert done.stdout == f"{TASK_ID}\n"
    assert done.exit_code == 0


def test_a_file_port_is_uploaded_and_named(mecapy: Shell, platform: FakePlatform, tmp_path: Path) -> None:
    part = tmp_path / "bracket.step"
    part.write_bytes(b"ISO-10303-21;")
    uploaded = {"upload_id": "u-1", "var_name": "part", "filename": part.name, "extension": "step", "size_bytes": 13}
    platform.on("POST /packages/p-1/functions/size/uploads", (201, uploaded))
    done = mecapy("run", "bolts:size", f"part=@{part}", "note=@@home")
    assert done.exit_code == 0, done.stderr
    (upload,) = platform.calls("POST /packages/p-1/functions/size/uploads")
    (submitted,) = platform.calls("POST /tasks")
    assert b"ISO-10303-21;" in upload.body
    assert b'name="var_name"' in upload.body
    assert submitted.json["files"] == {"part": "u-1"}
    assert submitted.json["inputs"] == {"note": "@home"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bolts",), 2, "package:function"),
        (("bolts:size", "diameter"), 7, "name=value"),
        (("bolts:size", "a=1", "a=2"), 7, "twice"),
        (("bolts:size", "part=@nowhere.step"), 7, "no file nowhere.step"),
        (("bolts:size", "--inputs", "nowhere.json"), 7, "Cannot read nowhere.json"),
        (("bolts:size", "--priority", "12"), 2, "priority"),
        (("bolts:size", "--colour"), 2, "No such option"),
    ],
)
def test_wrong_arguments_are_said_before_anything_is_sent(
    mecapy: Shell, platform: FakePlatform, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = mecapy("run", *arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert platform.seen == []


def test_files_of_a_task_are_downloaded(mecapy: Shell, platform: FakePlatform, tmp_path: Path) -> None:
    sent = {"name": "plot.svg", "kind": "artifact", "size_bytes": 5, "sha256": hashlib.sha256(b"<svg>").hexdigest()}
    listed = [{**sent, "partial": False, "attempt": 1, "url": "/storage/plot?signature=1"}]
    platform.on(f"GET /tasks/{TASK_ID}/artifacts", (200, {"artifacts": listed}))
    platform.on("GET /storage/plot", (200, b"<svg>"))
    done = mecapy("download", TASK_ID, "-o", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out" / "plot.svg").read_text() == "<svg>"
    missing = mecapy("download", TASK_ID, "other.svg", "-o", str(tmp_path / "out"))
    assert missing.exit_code == 4
    assert "It has: plot.svg" in missing.stderr


def test_task_show_tells_why_attempts_usage_and_provenance(mecapy: Shell, platform: FakePlatform) -> None:
    attempts: list[dict[str, Any]] = [
        {"number": 1, "state": "lost", "node": "node-1", "backend": "bubblewrap", "started_at": "2026-01-01T00:00:00Z"},
    ]
    attempts[0]["error"] = {"code": "lease_expired", "message": "The worker went silent."}
    waiting = {"code": "capacity", "message": "No worker has 8192 MiB free."}
    shown = task(
        "queued", attempts=attempts, waiting=waiting, provenance={"package_digest": "sha256:abc", "submitted_by": "ada"}
    )
    platform.on(f"GET /tasks/{TASK_ID}", (200, shown))
    done = mecapy("task", "show", TASK_ID)
    assert done.exit_code == 0, done.stderr
    for text in (
        "No worker has 8192 MiB free. (capacity)",
        "sha256:abc",
        "lease_expired",
        "node-1 bubblewrap",
        "33 MiB",
    ):
        assert text in done.stdout


def test_tasks_are_listed(mecapy: Shell, platform: FakePlatform) -> None:
    platform.on(
        "GET /tasks",
        (200, {"tasks": [task(), task("failed", error={"code": "x", "message": "Broke."})], "next_cursor": None}),
    )
    done = mecapy("tasks", "--state", "failed", "--package", "bolts")
    assert "Broke." in done.stdout
    assert platform.seen[0].query == {"limit": "20", "state": "failed", "package": "bolts"}


def test_logs_keep_the_streams_apart_and_hide_what_steers_a_terminal(mecapy: Shell, platform: FakePlatform) -> None:
    kinds = (
        ("stdout", "one\n"),
        ("stderr", "two\n"),
        ("progress", '{"step": 1, "total": 2}'),
        ("platform", "\x1b]0;title\x07"),
    )
    entries = [
        {"index": i, "attempt": 1, "kind": kind, "text": text, "created_at": None}
        for i, (kind, text) in enumerate(kinds)
    ]
    platform.on(f"GET /tasks/{TASK_ID}/logs", (200, {"entries": entries, "next": 4, "done": True}))
    done = mecapy("logs", TASK_ID, "-f")
    assert done.stdout == "one\n"
    assert "two\n[step 1 of 2]\n" in done.stderr
    assert "\x1b]" not in done.stderr


@pytest.mark.parametrize(
    ("state", "said"), [("cancelled", "cancelled"), ("running", "will be cancelled"), ("completed", "already ended")]
)
def test_cancelling_says_what_came_of_it(mecapy: Shell, platform: FakePlatform, state: str, said: str) -> None:
    platform.on(f"POST /tasks/{TASK_ID}/cancel", (200, task(state)))
    done = mecapy("cancel", TASK_ID)
    assert done.exit_code == 0
    assert said in done.stdout


def test_retrying_gives_a_new_task(mecapy: Shell, platform: FakePlatform) -> None:
    platform.on(f"POST /tasks/{TASK_ID}/retry", (201, task("queued", id="new-id", retry_of=TASK_ID)))
    assert mecapy("retry", TASK_ID).stdout.startswith("new-id")


def test_a_new_package_is_deployed_and_its_next_version_goes_to_the_same_one(
    mecapy: Shell, platform: FakePlatform, tmp_path: Path
) -> None:
    folder = tmp_path / "beams"
    assert mecapy("init", "beams", "--dir", str(folder)).exit_code == 0
    package = {"id": "p-2", "name": "beams", "version": "0.1.0", "status": "deploying", "functions": []}
    building = {"id": "v-1", "version": "0.1.0", "status": "building"}
    versions = iter(
        [
            [building],
            [{**building, "status": "ready"}],
            [{**building, "status": "error", "build_log": "no wheel for foo"}],
        ]
    )
    platform.on("POST /packages/from-zip", (200, {"package": package, "functions_deployed": 1}))
    platform.on("GET /packages/p-2/versions", lambda _: (200, {"versions": next(versions)}))
    first = mecapy("deploy", str(folder), "--org", "acme")
    assert first.exit_code == 0, first.stderr
    assert "deployed beams 0.1.0 (ready)" in first.stdout
    assert "mecapy run beams:deflection load=.." in first.stderr
    sent = platform.calls("POST /packages/from-zip")[0]
    assert sent.query == {"organization_slug": "acme"}
    assert b"PK\x03\x04" in sent.body
    platform.on("GET /packages", (200, {"packages": [package], "total": 1}))
    platform.on("POST /packages/p-2/versions/from-zip", (200, {"package": package, "functions_deployed": 1}))
    second = mecapy("deploy", str(folder))
    assert second.exit_code == 1
    assert "no wheel for foo" in second.stderr


def test_a_manifest_with_mistakes_is_not_sent(mecapy: Shell, platform: FakePlatform, tmp_path: Path) -> None:
    (tmp_path / "mecapy.yml").write_text('version: "2"\npackage: {name: "Not Kebab", version: one}\n')
    done = mecapy("deploy", str(tmp_path))
    assert done.exit_code == 7
    assert "package.name" in done.stderr
    assert "package.version" in done.stderr
    assert platform.seen == []


def test_login_keeps_what_the_platform_accepts_and_nothing_else(
    mecapy: Shell, platform: FakePlatform, tmp_path: Path
) -> None:
    nothing = {"MECAPY_API_URL": "", "MECAPY_TOKEN": ""}
    refused = mecapy("login", "--url", platform.url, "--token", "bad", **nothing)
    assert refused.exit_code == 3
    assert not (tmp_path / "credentials.json").exists()
    accepted = mecapy("login", "--url", platform.url + "/", "--token", TOKEN, **nothing)
    assert accepted.exit_code == 0, accepted.stderr
    who = mecapy("whoami", **nothing)
    assert "ada" in who.stdout
    assert "acme (admin)" in who.stdout
    assert mecapy("logout", **nothing).exit_code == 0
    assert mecapy("whoami", **nothing).exit_code == 3


def test_login_by_data_directory_follows_the_token_in_it(mecapy: Shell, platform: FakePlatform, tmp_path: Path) -> None:
    nothing = {"MECAPY_API_URL": "", "MECAPY_TOKEN": ""}
    connection = tmp_path / "data" / "connection.json"
    connection.parent.mkdir()
    connection.write_text(json.dumps({"url": platform.url, "token": TOKEN, "organization": "demo"}))
    assert mecapy("login", "--data", str(connection.parent), **nothing).exit_code == 0
    assert mecapy("whoami", **nothing).exit_code == 0
    connection.unlink()
    gone = mecapy("whoami", **nothing)
    assert gone.exit_code == 3
    assert "mecapy up" in gone.stderr


def test_a_stored_token_goes_to_its_own_platform_only(mecapy: Shell, platform: FakePlatform) -> None:
    assert mecapy("login", "--url", platform.url, "--token", TOKEN).exit_code == 0
    with serve() as other:
        mecapy("whoami", "--url", other.url, MECAPY_TOKEN="", MECAPY_API_URL="")
        assert all("authorization" not in seen.headers for seen in other.seen)
        assert other.seen


def test_types_are_shown_with_their_units(mecapy: Shell) -> None:
    assert "Stress" in mecapy("types").stdout
    assert json.loads(mecapy("types", "--json").stdout)[0]["unit"] == "Pa"


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if not entry.needs_server])
def test_every_command_explains_itself(mecapy: Shell, name: str) -> None:
    done = mecapy(name, "--help")
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_a_mistyped_command_gets_a_suggestion(mecapy: Shell) -> None:
    done = mecapy("taks")
    assert done.exit_code == 2
    assert "tasks" in done.stderr


def test_results_of_a_function_in_millimetres_have_its_units(mecapy: Shell, platform: FakePlatform) -> None:
    platform.on("GET /function-versions/fv-1", (200, {**FUNCTION, "units": "mm-N-MPa"}))
    done = mecapy("run", "bolts:size")
    assert "stress 1.5e+08 MPa" in " ".join(done.stdout.split())
