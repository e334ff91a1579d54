"""`mecapy up` as root on machines that lack something: it degrades as documented, or takes no task and says why."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import run as run_program
from typing import Any

import httpx2
import pytest

from support.bad_packages import SOURCE, manifest, small_manifest
from support.platform.embedded_process import Started, wait_for
from support.platform.running_platform import MECAPY, archive, deploy, launch, platform

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="root's platform is the one that must not run code unconfined"
)

LIMITS = {
    "MECAPY_OUTPUT_BYTES": str(1 << 20),
    "MECAPY_LOG_BYTES": str(1 << 18),
    "MECAPY_GRACE_SECONDS": "1",
    "MECAPY_CHECKS": '{"hostile": "warn"}',
}


@pytest.fixture(scope="module", params=["cgroups", "landlock", "cgroups,enabled-landlock"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    with platform(LIMITS, lack=request.param) as running, running.client() as opened:
        deploy(opened, archive(manifest(), {"bad_handlers.py": SOURCE}))
        yield opened


ENDS = [
    ("good", "completed", None, ""),
    ("memory_flood", "out_of_memory", "out_of_memory", "memory limit of 128 MiB"),
    ("fork_until_refused", "failed", "process_limit", "process limit of 256"),
    ("inode_flood", "failed", "disk_limit", "disk limit of 20000 files"),
    ("log_flood", "failed", "log_limit", "log limit of 262144 bytes"),
    ("big_file", "failed", "output_limit", "output limit of 1048576 bytes"),
    ("forks_and_ignores", "timeout", "timeout", "time limit of 3 s"),
    ("link", "failed", "output_refused", "a symbolic link"),
]


@pytest.mark.parametrize(("function", "state", "code", "words"), ENDS, ids=[item[0] for item in ENDS])
def test_limits_end_a_task_with_their_reason(
    client: httpx2.Client, function: str, state: str, code: str | None, words: str
) -> None:
    answer = client.post("/tasks", params={"wait": 40}, json={"package": "bad", "function": function, "inputs": {}})
    task: dict[str, Any] = answer.json()
    assert task["state"] == state, task["error"]
    if code is not None:
        assert task["error"]["code"] == code
        assert words in task["error"]["message"]
    assert len(task["attempts"]) == 1


def test_a_full_disk_ends_a_task_by_whichever_limit_it_meets_first(client: httpx2.Client) -> None:
    """Files lie in memory, and both limits are equal.

    Where memory is looked at now and then, the disk may be full before.
    """
    task = client.post(
        "/tasks", params={"wait": 40}, json={"package": "bad", "function": "disk_flood", "inputs": {}}
    ).json()
    assert task["error"]["code"] in {"out_of_memory", "disk_limit"}
    assert "limit of 128 MiB" in task["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lack", "why"), [("user-namespaces", "Creating new namespace failed"), ("seccomp", "PR_SET_SECCOMP")]
)
def test_a_machine_that_cannot_confine_runs_nothing_and_says_why_everywhere(lack: str, why: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mecapy-e2e-"))
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = launch(folder / "data", folder / "ready.json", None, "--port", str(port), lack=lack)
    try:
        _look_while_it_starts(f"http://127.0.0.1:{port}", folder, why)
        said = _end(started)
        assert "did not become ready" in said
        assert why in said
        assert "mecapy doctor" in said
    finally:
        started.finish()
        shutil.rmtree(folder, ignore_errors=True)


def _look_while_it_starts(url: str, folder: Path, why: str) -> None:
    """The API answers before it is known whether any worker takes work."""
    refusal = wait_for(lambda: _refusal(url), "a worker that refuses", 40)
    assert refusal["status"] == "not_ready"
    assert "takes work just now" in refusal["parts"]["workers"]  # a stranger is not told why
    command = [MECAPY, "token", "--data", str(folder / "data"), "--user", "ada", "--organization", "demo"]
    token = run_program(command, capture_output=True, text=True, check=True).stdout.strip()
    marker = folder / "planted"
    code = f"open({str(marker)!r}, 'w')\nprint('ran')\ndef run():\n    return {{}}\n"
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=90) as client:
        content = archive(small_manifest("planted"), {"code.py": code})
        with suppress(httpx2.ReadTimeout):  # it waits for a build that nobody makes
            client.post("/packages/from-zip", files={"file": ("p.zip", content, "application/zip")}, timeout=2)
        task = client.post("/tasks", json={"package": "planted", "function": "run"})
        assert task.status_code == 201, task.text
        seen = client.get(f"/tasks/{task.json()['id']}", params={"wait": 3}).json()
        assert (seen["state"], seen["attempts"]) == ("queued", [])
        assert seen["waiting"]["code"] == "workers_refuse"
        assert why in seen["waiting"]["message"]
        assert client.get(f"/tasks/{seen['id']}/logs").json()["entries"] == []
    assert not marker.exists()


def _refusal(url: str) -> Any:
    with suppress(httpx2.TransportError):
        answer = httpx2.get(f"{url}/ready", timeout=10)
        if answer.status_code == 503 and "takes work just now" in answer.text:
            return answer.json()
    return None


def _end(started: Started) -> str:
    assert started.process.wait(100) == 1
    started.close()
    return "\n".join(started.lines)
