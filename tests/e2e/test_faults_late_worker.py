"""A worker stopped past its lease and continued when another one has done its task: it changes nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mecapy_platform.embedded.private_view import Need, build
from support.faults.checker import Record, problems
from support.faults.client import Accepted
from support.faults.platform import Faulty, faulty_platform
from support.platform.embedded_process import code_paths, wait_for

NONCE = 4242
RUNS_SECONDS = 4.0
TAKEN_OVER_SECONDS = 60.0

pytestmark = pytest.mark.machine("beside")


@pytest.fixture(scope="module")
def platform() -> Iterator[Faulty]:
    with faulty_platform() as running:
        yield running


def test_a_worker_that_comes_back_after_its_task_was_taken_over_changes_nothing(platform: Faulty) -> None:
    (pid,) = platform.running.parts["worker-default"]
    task_id = submit(platform)
    wait_for(lambda: only(platform).attempt_count == 1, "the task runs")
    os.kill(pid, signal.SIGSTOP)
    try:
        with second_worker(platform):
            wait_for(
                lambda: only(platform).is_ended, "another worker takes the task over and ends it", TAKEN_OVER_SECONDS
            )
        before, files = only(platform), stored(platform)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(
        lambda: "late" in points(platform, pid), "the late worker reports, and hears that its attempt no longer counts"
    )
    after = only(platform)
    assert [attempt["state"] for attempt in after.attempts] == ["lost_machine", "completed"]
    assert after == before
    assert "finished" not in points(platform, pid)
    assert {name: text for name, text in stored(platform).items() if name in files} == files
    accepted = {task_id: Accepted(task_id, NONCE, "normal_0", "alpha", 0.0)}
    assert problems([after], accepted, platform.watched()) == []


def submit(platform: Faulty) -> str:
    running = platform.running
    request = {"package": "faults", "function": "normal_0", "inputs": {"nonce": NONCE, "seconds": RUNS_SECONDS}}
    with running.client(running.token("user-alpha", "alpha"), "alpha") as client:
        answer = client.post("/tasks", json=request)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def points(platform: Faulty, pid: int) -> list[str]:
    return [str(entry["point"]) for entry in platform.watched() if entry["pid"] == pid]


def only(platform: Faulty) -> Record:
    """The task, its events in one order so that two looks can be compared."""
    (record,) = platform.records()
    return replace(record, events=sorted(record.events, key=str), lines=sorted(record.lines, key=str))


def stored(platform: Faulty) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in (platform.running.data / "files" / "storage").rglob("report*")
        if path.is_file()
    }


@contextmanager
def second_worker(platform: Faulty) -> Iterator[None]:
    """`mecapy server worker` on the same machine, as the user that the platform's own workers run as."""
    settings = platform.settings()
    files = settings.data_dir
    uid = files.stat().st_uid
    environment = {
        **os.environ,
        "HOME": str(platform.running.data / "home"),
        "MECAPY_DATABASE_WORKER_URL": settings.database_worker_url,
        "MECAPY_BROKER_URL": settings.broker_url,
        "MECAPY_DATA_DIR": str(files),
        "MECAPY_SPAWNER_SOCKET": str(settings.spawner_socket),
        "MECAPY_FAULT_PROBE": str(platform.faults),
        "MECAPY_WORKER_NAME": "second",
        "MECAPY_ALLOW_NEWER_PYTHON": "1",
    }
    view = build([Need(path) for path in [*code_paths(), platform.running.data]], {}) if os.geteuid() == 0 else None

    def become() -> None:
        assert view is not None
        view.enter()
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

    command = [str(Path(sys.executable).with_name("mecapy")), "server", "worker", "--lanes", "default"]
    log = platform.running.data.parent / "second.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd="/",
            env=environment,
            preexec_fn=become if view is not None else None,  # noqa: PLW1509 - system calls alone
        )
    try:
        yield
    except AssertionError as error:
        error.add_note(log.read_text()[-3000:])
        raise
    finally:
        worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(20)
        worker.kill()
        worker.wait()
        if view is not None:
            view.close()
