"""Bad input of every kind against one real platform.

Each gets a code and a sentence, nothing is harmed, nothing stays behind.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from support.bad_packages import SOURCE, encrypted_archive, manifest, member, small_manifest, zipped
from support.left_behind import traces
from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, archive, deploy, platform

LIMITS = {
    "MECAPY_OUTPUT_BYTES": str(1 << 20),
    "MECAPY_RESULT_BYTES": str(1 << 20),
    "MECAPY_LOG_BYTES": str(1 << 18),
    "MECAPY_BODY_BYTES": str(4 << 20),
    "MECAPY_GRACE_SECONDS": "1",
    "MECAPY_WARM_SANDBOXES": "0",  # a sandbox that is kept ready is no trace of a bad run
    "MECAPY_CHECKS": '{"hostile": "warn"}',  # fork bombs among them
}
COUNTED = {"fork_bomb", "fork_until_refused", "disk_flood"}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform(LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[httpx2.Client]:
    with running.client() as opened:
        deploy(opened, archive(manifest(), {"bad_handlers.py": SOURCE}), organization="demo")
        yield opened


@pytest.fixture(scope="module")
def baseline(running: Running, client: httpx2.Client) -> tuple[dict[str, list[int]], set[str]]:
    assert run(client, "good")["state"] == "completed"
    return running.parts, wait_for(lambda: traces(running) or None, "a look at the machine")


@pytest.fixture(autouse=True)
def _unharmed(
    running: Running, client: httpx2.Client, baseline: tuple[dict[str, list[int]], set[str]]
) -> Iterator[None]:
    """After each bad thing a good one works, every process is the one it was, and nothing of the bad one is left."""
    yield
    assert run(client, "good", {"value": 2.5})["result"] == {"value": 2.5}
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    parts, before = baseline
    assert running.parts == parts
    wait_for(lambda: traces(running) <= before, f"nothing left: {sorted(traces(running) - before)}", 15)


def run(client: httpx2.Client, function: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    body = {"package": "bad", "function": function, "inputs": inputs or {}}
    answer = client.post("/tasks", params={"wait": 30}, json=body)
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


RUNS: list[tuple[str, str, str, str]] = [
    ("nan", "failed", "result_not_finite", "Output value: nan"),
    ("infinity_in_a_list", "failed", "result_not_finite", "Output list[1]: -inf"),
    ("a_set", "failed", "result_not_json", "Return a sorted list"),
    ("deep", "failed", "result_too_deep", "deeper than 64"),
    ("itself", "failed", "result_too_deep", "containing itself"),
    ("huge_integer", "failed", "result_out_of_range", "more than 300 digits"),
    ("nul_text", "failed", "result_not_json", "Output text: the text holds a NUL"),
    ("wrong_type", "failed", "outputs_invalid", "value is text ('heavy'); it must be a number"),
    ("missing_output", "failed", "outputs_invalid", "returned no value"),
    ("big_result", "failed", "output_limit", "result limit of 1048576 bytes passed: out/data.json has 2000026 bytes"),
    ("no_json", "failed", "result_not_json", "Line 1, column 2"),
    ("no_object", "failed", "result_not_an_object", "one JSON object"),
    ("bare_nan", "failed", "result_not_finite", "NaN is no JSON number"),
    ("raw_deep", "failed", "result_too_deep", "deeper than 64"),
    ("raw_huge_integer", "failed", "result_out_of_range", "more than 300 digits"),
    ("raw_huge_float", "failed", "result_not_finite", "1e400"),
    ("twice", "failed", "result_duplicate_key", "'value' stands there twice"),
    ("raw_nul", "failed", "outputs_invalid", "text: it has a NUL"),
    ("raw_surrogate", "failed", "outputs_invalid", "half of a surrogate pair"),
    ("no_utf8", "failed", "result_not_json", "not UTF-8"),
    ("long_key", "failed", "outputs_invalid", "[cut]"),
    ("raises", "failed", "user_error", "ValueError: The load is negative."),
    ("raises_unstorable", "failed", "user_error", "ValueError: a\ufffdb"),
    ("error_file_unstorable", "failed", "user_error", "ud800"),
    ("error_file_deep", "failed", "exit_code", "exit code 1"),
    ("recursion", "failed", "user_error", "RecursionError"),
    ("exits_politely", "failed", "exit_code", "sys.exit(0) before it gave a result"),
    ("exits_with_a_code", "failed", "exit_code", "sys.exit(3)"),
    ("exits_at_once", "failed", "no_result", "without writing its result"),
    ("exits_at_once_with_a_code", "failed", "exit_code", "Ended with exit code 7. the solver gave up"),
    ("kills_itself", "failed", "killed_by_signal", "signal 11"),
    ("forks_and_ignores", "timeout", "timeout", "time limit of 3 s"),
    ("fork_bomb", "out_of_memory", "out_of_memory", "memory limit of 128 MiB"),
    ("fork_until_refused", "failed", "process_limit", "process limit of 256"),
    ("log_flood", "failed", "log_limit", "log limit of 262144 bytes"),
    ("disk_flood", "out_of_memory", "out_of_memory", "128 MiB used, files in out, scratch, /tmp and /dev/shm included"),
    ("inode_flood", "failed", "disk_limit", "disk limit of 20000 files"),
    ("memory_flood", "out_of_memory", "out_of_memory", "memory limit of 128 MiB"),
    ("big_file", "failed", "output_limit", "output limit of 1048576 bytes passed: 3145728 bytes"),
    ("many_files", "failed", "output_limit", "output limit of 2000 files"),
    ("link", "failed", "output_refused", "passwd: a symbolic link"),
    ("linked_result", "failed", "output_refused", "data.json: "),
    ("linked_folder", "failed", "output_refused", "artifacts: not a folder"),
    ("fifo", "failed", "output_refused", "pipe: a named pipe"),
    ("fifo_as_result", "failed", "output_refused", "data.json: a named pipe"),
    ("sparse", "failed", "output_refused", "sparse: a sparse file"),
    ("odd_names", "failed", "output_refused", "not UTF-8"),
    ("closed_folder", "failed", "exit_code", "Permission denied"),
    ("no_file", "failed", "outputs_invalid", "out/files/report.* was not written"),
    ("wrong_file", "failed", "outputs_invalid", "report.exe should end in .csv"),
]


@pytest.mark.parametrize(("function", "state", "code", "words"), RUNS, ids=[item[0] for item in RUNS])
def test_a_run_that_misbehaves_ends_with_its_cause(
    client: httpx2.Client, function: str, state: str, code: str, words: str
) -> None:
    task = run(client, function)
    if function in COUNTED and os.geteuid() != 0:  # no control group: the kernel refuses, the limit is not named
        assert task["state"] != "completed"
        return
    assert (task["state"], task["error"]["code"]) == (state, code), task["error"]["message"][:500]
    assert words in task["error"]["message"]
    assert len(task["error"]["message"]) <= 4000
    assert [attempt["state"] != "running" for attempt in task["attempts"]] == [True]
    assert task["usage"]["wall_seconds"] < 3 + 1 + 10  # its limit, the grace, and a busy machine


@pytest.mark.parametrize("function", ["leaves_children", "anything"])
def test_what_is_odd_but_allowed_completes(client: httpx2.Client, function: str) -> None:
    assert run(client, function)["state"] == "completed"


@pytest.mark.parametrize(
    ("function", "contents"), [("long_names", {"deep down"}), ("quoted_names", {"quoted", "dots"})]
)
def test_files_with_odd_names_come_back_as_they_were_written(
    client: httpx2.Client, function: str, contents: set[str]
) -> None:
    task = run(client, function)
    assert task["state"] == "completed", task["error"]
    artifacts = client.get(f"/tasks/{task['id']}/artifacts").json()["artifacts"]
    answers = [client.get(artifact["url"]) for artifact in artifacts]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers} == contents


def test_a_running_task_is_seen_where_an_ended_one_has_left_nothing(
    running: Running, client: httpx2.Client, baseline: tuple[dict[str, list[int]], set[str]]
) -> None:
    task = client.post("/tasks", json={"package": "bad", "function": "forks_and_ignores"}).json()
    seen = wait_for(
        lambda: {trace.split()[0] for trace in traces(running) - baseline[1]} >= {"process", "file"}, "traces of a run"
    )
    assert seen
    assert client.get(f"/tasks/{task['id']}", params={"wait": 30}).json()["state"] == "timeout"


def test_odd_bytes_in_log_and_progress_are_kept_as_text(client: httpx2.Client) -> None:
    task = run(client, "log_in_bytes")
    assert task["state"] == "completed"
    entries = client.get(f"/tasks/{task['id']}/logs", params={"limit": 1000}).json()["entries"]
    stdout = "".join(entry["text"] for entry in entries if entry["kind"] == "stdout")
    assert stdout.startswith("\ufffd\ufffd\ufffd no newline yyy")
    assert [json.loads(entry["text"]) for entry in entries if entry["kind"] == "progress"] == [{"step": 2, "total": 2}]
    said = "".join(entry["text"] for entry in entries if entry["kind"] == "platform")
    assert said.count("skipped") >= 4
    assert "log limit of" in said


def test_free_inputs_take_what_no_port_names(client: httpx2.Client) -> None:
    assert run(client, "anything", {"a": 1, "b": [{"c": None}]})["result"] == {"value": 2.0}


BAD_INPUTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"value": "12 kg"}, ["wrong_type"]),
    ({"size": "12 kg"}, ["unit_mismatch"]),
    ({"size": "12 parsec"}, ["unknown_unit"]),
    ({"size": "long"}, ["not_a_quantity"]),
    ({"value": [1]}, ["wrong_type"]),
    ({"value": True, "size": {}, "text": 4, "more": 1}, ["unknown_input", "wrong_type", "wrong_type", "wrong_type"]),
    ({"text": "a\0b"}, ["bad_text"]),
]


@pytest.mark.parametrize(("inputs", "codes"), BAD_INPUTS)
def test_wrong_inputs_are_refused_with_every_problem_and_its_path(
    client: httpx2.Client, inputs: dict[str, Any], codes: list[str]
) -> None:
    answer = client.post("/tasks", json={"package": "bad", "function": "good", "inputs": inputs})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "inputs_invalid"
    assert sorted(error["code"] for error in problem["errors"]) == codes
    assert {error["path"] for error in problem["errors"]} <= set(inputs)


RAW_BODIES = [
    (b'{"package": "bad", "function": "good", "inputs": {"value": NaN}}', 400, "malformed_json"),
    (b'{"package": "bad", "function": "good", "inputs": {"value": 1' + b"0" * 400 + b"}}", 400, "malformed_json"),
    (b'{"package": "bad", "function": "good", "inputs": {"value": 1e999}}', 400, "malformed_json"),
    (
        b'{"package": "bad", "function": "good", "inputs": {"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        400,
        "malformed_json",
    ),
    (b'{"package": "bad", "package": "bad", "function": "good"}', 400, "malformed_json"),
    (b'{"package": "bad", "function": "good", "inputs": {"value": 1}, "color": "red"}', 422, "invalid_request"),
    (b'{"package": "ba\\u0000d", "function": "good"}', 422, "value_not_storable"),
    (b'{"package": "bad", "function": "good\\ud800"}', 422, "invalid_request"),
    (b"\xff\xfe", 400, "malformed_json"),
    (b"", 422, "invalid_request"),
    (b"[]", 422, "invalid_request"),
    (b'{"package": "bad", "function": "good", "inputs": {"text": "' + b"x" * (5 << 20) + b'"}}', 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), RAW_BODIES, ids=range(len(RAW_BODIES)))
def test_a_body_that_cannot_be_read_is_refused(client: httpx2.Client, body: bytes, status: int, code: str) -> None:
    answer = client.post("/tasks", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text[:500]
    assert answer.json()["detail"]


def send(client: httpx2.Client, content: bytes) -> httpx2.Response:
    files = {"file": ("package.zip", content, "application/zip")}
    return client.post("/packages/from-zip", params={"organization_slug": "demo"}, files=files)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("make", "status", "code", "problem"),
    [
        (lambda: b"this is no zip", 400, "archive_unreadable", None),
        (lambda: b"", 400, "archive_unreadable", None),
        (lambda: zipped(lambda target: None)[:-30], 400, "archive_unreadable", None),
        (lambda: zipped(lambda target: target.writestr("bomb", bytes(64 << 20))), 400, "archive_invalid", "ratio"),
        (lambda: zipped(lambda target: target.writestr("../../etc/cron", "x")), 400, "archive_invalid", "bad_path"),
        (lambda: zipped(lambda target: target.writestr("/etc/cron", "x")), 400, "archive_invalid", "bad_path"),
        (
            lambda: zipped(lambda target: target.writestr(member("link", mode=0o120777), "/etc/passwd")),
            400,
            "archive_invalid",
            "not_a_file",
        ),
        (
            lambda: zipped(lambda target: target.writestr(member("pipe", mode=0o010644), "")),
            400,
            "archive_invalid",
            "not_a_file",
        ),
        (lambda: zipped(lambda target: target.writestr("code.py", "")), 400, "archive_invalid", "duplicate"),
        (lambda: zipped(lambda target: target.writestr("CODE.py", "")), 400, "archive_invalid", "case_collision"),
        (encrypted_archive, 400, "archive_invalid", "encrypted"),
        (lambda: bytes(51_000_000), 413, "archive_too_large", None),
        (lambda: bytes(60_000_000), 413, "body_too_large", None),
    ],
)
def test_a_bad_archive_is_refused_naming_the_member(
    client: httpx2.Client, make: Callable[[], bytes], status: int, code: str, problem: str | None
) -> None:
    answer = send(client, make())
    found = answer.json()
    assert (answer.status_code, found["code"]) == (status, code), answer.text[:1000]
    assert [error["code"] for error in found["errors"]] == ([problem] if problem else [])
    assert all(error["path"] for error in found["errors"])


TEN_MISTAKES = """
version: "2"
package: {name: Not Kebab, version: one, visibility: secret}
runtime: {kind: python, version: "2.7", requirement: true}
functions:
  size:
    handler: bolts size
    inputs: {load: Forse, diameter: {type: Length, requird: true}}
    outputs: {stress: {type: Stress, required: false}}
    resources: {tier: nano, cpu: 4}
  move: {entrypoint: [run.sh], inputs: {}, outputs: {}}
platform: {warmth: true}
"""
TEN_PATHS = {
    "version",
    "package.name",
    "package.version",
    "package.visibility",
    "runtime.version",
    "runtime.requirement",
    "functions.size.handler",
    "functions.size.inputs.load",
    "functions.size.inputs.diameter.requird",
    "functions.size.outputs.stress.required",
    "functions.size.resources",
    "functions.move.entrypoint",
    "platform.warmth",
}


def test_a_manifest_with_ten_mistakes_hears_of_all_at_once(client: httpx2.Client) -> None:
    answer = send(client, archive(TEN_MISTAKES, {"bolts.py": ""}))
    found = answer.json()
    assert (answer.status_code, found["code"]) == (400, "manifest_invalid"), answer.text
    paths = {error["path"] for error in found["errors"]}
    missing = {path for path in TEN_PATHS if not any(item.startswith(path) for item in paths)}
    assert not missing, sorted(paths)
    assert all(error["code"] and error["message"] for error in found["errors"])
    assert all(path in found["detail"] for path in paths)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("functions: [\n", "manifest_unreadable"),
        ("a: &x [1]\nb: [*x, *x]\n", "manifest_unreadable"),
        ("[" * 5000, "manifest_unreadable"),
        ("x: " + "y" * 300_000, "manifest_unreadable"),
        ("- 1\n", "manifest_invalid"),
    ],
)
def test_a_manifest_that_is_none_is_refused(client: httpx2.Client, text: str, code: str) -> None:
    answer = send(client, archive(text, {}))
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text[:500]


REQUIRE = ", requirements: true"
FORGER = "import os\nopen('/workspace/out/data.json', 'w').write({text!r})\nos._exit(0)\n"
BUILDS: list[tuple[str, dict[str, str], str, str]] = [
    (
        small_manifest(handler="code:walk"),
        {"code.py": "def run(): pass\n"},
        "handler_broken",
        "code has no function 'walk'",
    ),
    (small_manifest(handler="other:run"), {"code.py": ""}, "handler_broken", "No module named 'other'"),
    (small_manifest(), {"code.py": "def run(:\n"}, "handler_broken", "SyntaxError"),
    (small_manifest(), {"code.py": "raise ValueError('a\\0b \\ud800')\n"}, "handler_broken", ""),
    (small_manifest(), {"code.py": "import sys\nsys.exit(0)\n"}, "handler_broken", "SystemExit"),
    (small_manifest(), {"code.py": "import os\nos._exit(0)\n"}, "handler_broken", "Importing the handlers failed"),
    (small_manifest(), {"code.py": FORGER.format(text="{")}, "handler_broken", "cannot be read"),
    (small_manifest(), {"code.py": FORGER.format(text="[]")}, "handler_broken", "cannot be read"),
    (small_manifest(), {"code.py": FORGER.format(text='{"run": 1}')}, "handler_broken", "itself"),
    (
        small_manifest(),
        {"code.py": "x = []\nwhile True: x.append('x' * (1 << 20))\n"},
        "handler_broken",
        "memory limit",
    ),
    (
        small_manifest(more=REQUIRE),
        {"requirements.txt": "mecapy-no-such-distribution\n"},
        "requirements_unsolvable",
        "mecapy-no-such-dist",
    ),
]


def test_a_test_case_that_fails_with_odd_text_is_reported(client: httpx2.Client) -> None:
    cases = {"function": "code:run", "test_cases": [{"name": "a\0b", "inputs": {}, "expected_outputs": {}}]}
    code = "def run():\n    raise ValueError('c\\0d \\ud800')\n"
    text = small_manifest("odd-cases").replace("outputs: {}}", "outputs: {}, testcases: cases.json}")
    answer = send(client, archive(text, {"code.py": code, "cases.json": json.dumps(cases)}))
    assert answer.status_code == 200, answer.text
    report = answer.json()["validation_results"]["validation_testcases"]
    assert [(case["name"], case["differences"]) for case in report["cases"]] == [
        ("a\ufffdb", ["ValueError: c\ufffdd \ufffd"])
    ]
    assert client.get(f"/packages/{answer.json()['package']['id']}/versions").status_code == 200


@pytest.mark.parametrize("text", ['"a\\0b"', '"a\\ud800b"', '"a\\x00"'])
def test_a_manifest_with_text_that_cannot_be_stored_is_refused(client: httpx2.Client, text: str) -> None:
    manifest_text = small_manifest("odd-text").replace("version: 1.0.0", f"version: 1.0.0, description: {text}")
    answer = send(client, archive(manifest_text, {"code.py": "def run():\n    return {}\n"}))
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["code"] in {"manifest_unreadable", "manifest_invalid", "value_not_storable"}


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"code.py": ""}, "requirements_missing", "no requirements.txt"),
        ({"requirements.txt": "-r base.txt\n"}, "requirements_invalid", "base.txt"),
        (
            {"requirements.txt": "x @ http://127.0.0.1/x.whl\n--index-url http://127.0.0.1\n"},
            "requirements_invalid",
            "requirements.txt:2",
        ),
    ],
)
def test_requirements_that_cannot_be_used_are_refused_and_spend_no_version(
    client: httpx2.Client, files: dict[str, str], code: str, words: str
) -> None:
    text = small_manifest(more=REQUIRE).replace("name: small", "name: unspent")
    answer = send(client, archive(text, files))
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert words in answer.text
    assert "unspent" not in client.get("/packages").text


@pytest.mark.parametrize(("number", "build"), list(enumerate(BUILDS)))
def test_a_package_that_cannot_be_built_says_why(
    client: httpx2.Client, number: int, build: tuple[str, dict[str, str], str, str]
) -> None:
    text, files, code, words = build
    answer = send(client, archive(text.replace("name: small", f"name: small-{number}"), files))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["package"]["status"] == "error"
    error = found["validation_results"]["error"]
    assert error["code"] == code, error
    assert words in error["message"] + found["validation_results"]["log"]
    task = client.post("/tasks", json={"package": f"small-{number}", "function": "run"})
    assert task.status_code in {404, 409}, task.text
