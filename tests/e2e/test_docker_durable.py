"""A calculation in a container outlives its worker: `kill -9` of the worker, of the launcher, a drain.

The result arrives once.

Shortened: here the run takes as long as the faults need. `MECAPY_DURABLE_SECONDS=600` makes it the ten minutes of the
plan.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from support.backends.docker_daemon import TestDaemon, daemon
from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, archive, deploy, launch, platform

MANIFEST = """
version: "1"
package: {name: durable, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
functions:
  count:
    handler: durable:count
    inputs: {seconds: Float, every: Float}
    outputs: {last: Integer, pid_namespace: Integer}
    resources: {tier: nano, timeout: 1200}
"""
CODE = """
import json, os, time
from threading import Event
from pathlib import Path

def count(seconds, every):
    until, number = time.monotonic() + seconds, 0
    with open("/workspace/out/progress.jsonl", "a") as progress:
        while time.monotonic() < until:
            print(f"line {number}")
            progress.write(json.dumps({"step": number}) + "\\n")
            progress.flush()
            number += 1
            Event().wait(every)
    Path("/workspace/out/artifacts/end.txt").write_text(str(number))
    return {"last": number - 1, "pid_namespace": os.stat("/proc/self/ns/pid").st_ino}
"""
RUN_SECONDS = float(os.environ.get("MECAPY_DURABLE_SECONDS", "12"))
EVERY_SECONDS = RUN_SECONDS / 120
WORKER = "worker-long_running"
pytestmark = pytest.mark.timeout(300 + 2 * RUN_SECONDS)


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    with daemon() as started:
        started.directory.chmod(0o711)
        yield started


def settings_for(engine: TestDaemon) -> dict[str, str]:
    return {"MECAPY_SANDBOX_BACKENDS": '{"long_running": "docker"}', "MECAPY_DOCKER_HOST": engine.address}


@pytest.fixture(scope="module")
def running(engine: TestDaemon) -> Iterator[Running]:
    with platform(settings_for(engine)) as started:
        with started.client() as client:
            deploy(client, archive(MANIFEST, {"durable.py": CODE}))
        yield started


def submit(client: httpx2.Client, seconds: float = RUN_SECONDS) -> str:
    answer = client.post(
        "/tasks",
        json={"package": "durable", "function": "count", "inputs": {"seconds": seconds, "every": EVERY_SECONDS}},
    )
    assert answer.status_code == 201, answer.text
    return str(UUID(answer.json()["id"]))


def lines(client: httpx2.Client, task_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/tasks/{task_id}/logs", params={"limit": 1000}).json()["entries"]
    return found


def wait_until_it_tells(client: httpx2.Client, task_id: str, at_least: int = 5) -> None:
    wait_for(
        lambda: sum(line["kind"] == "stdout" for line in lines(client, task_id)) >= at_least,
        "the run tells something",
        60 + 5 * EVERY_SECONDS,
    )


def check_ended_once(client: httpx2.Client, task_id: str) -> None:
    """Completed by its first attempt, with every line and every step told once, in order."""
    wait_for(
        lambda: client.get(f"/tasks/{task_id}").json()["state"] not in {"queued", "running"},
        "the task ends",
        RUN_SECONDS + 120,
    )
    task = client.get(f"/tasks/{task_id}").json()
    assert task["state"] == "completed", task
    assert [attempt["number"] for attempt in task["attempts"]] == [1]
    told = lines(client, task_id)
    output = "".join(line["text"] for line in told if line["kind"] == "stdout")
    last = client.get(f"/tasks/{task_id}/result").json()["result"]["last"]
    assert output == "".join(f"line {number}\n" for number in range(last + 1))
    assert len([line for line in told if line["kind"] == "progress"]) == last + 1
    assert task["usage"]["wall_seconds"] >= RUN_SECONDS


def containers(engine: TestDaemon) -> list[str]:
    command = ["docker", "--host", engine.address, "ps", "--all", "--quiet", "--no-trunc"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def kill_worker(running: Running, number: int = signal.SIGKILL) -> None:
    (pid,) = running.parts[WORKER]
    os.kill(pid, number)
    wait_for(lambda: running.parts[WORKER] not in ([], [pid]), "the worker is started again", 60)


def test_a_run_survives_kill_9_of_its_worker_and_of_every_client_of_the_daemon(
    running: Running, engine: TestDaemon
) -> None:
    with running.client() as client:
        task_id = submit(client)
        wait_until_it_tells(client, task_id)
        (container,) = containers(engine)
        attached = subprocess.Popen(
            ["docker", "--host", engine.address, "attach", "--no-stdin", "--sig-proxy=false", container]
        )
        kill_worker(running)
        attached.kill()
        attached.wait()
        kill_worker(running)
        check_ended_once(client, task_id)
        wait_for(lambda: containers(engine) == [], "nothing is left of it", 30)


def test_a_run_survives_an_orderly_restart_of_its_worker(running: Running, engine: TestDaemon) -> None:
    with running.client() as client:
        task_id = submit(client)
        wait_until_it_tells(client, task_id)
        kill_worker(running, signal.SIGTERM)
        check_ended_once(client, task_id)


def test_a_run_is_cancelled_after_its_worker_was_replaced(running: Running, engine: TestDaemon) -> None:
    with running.client() as client:
        task_id = submit(client, 300.0)
        wait_until_it_tells(client, task_id)
        kill_worker(running)
        client.post(f"/tasks/{task_id}/cancel")
        wait_for(lambda: client.get(f"/tasks/{task_id}").json()["state"] != "running", "the task is stopped", 60)
        assert client.get(f"/tasks/{task_id}").json()["state"] == "cancelled"
        wait_for(lambda: containers(engine) == [], "its container is removed", 30)


def test_a_container_that_is_gone_is_a_lost_machine_and_the_task_starts_again(
    running: Running, engine: TestDaemon
) -> None:
    """As after a host's restart."""
    with running.client() as client:
        task_id = submit(client)
        wait_until_it_tells(client, task_id)
        (container,) = containers(engine)
        subprocess.run(
            ["docker", "--host", engine.address, "rm", "--force", container], check=True, capture_output=True
        )
        wait_for(
            lambda: client.get(f"/tasks/{task_id}").json()["state"] == "completed", "another attempt completes it", 120
        )
        assert [attempt["number"] for attempt in client.get(f"/tasks/{task_id}").json()["attempts"]] == [1, 2]


def test_a_container_of_somebody_else_is_never_touched(running: Running, engine: TestDaemon) -> None:
    command = [
        "docker",
        "--host",
        engine.address,
        "create",
        "--label",
        "mecapy.platform=another",
        "mecapy/root",
        "/none",
    ]
    foreign = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with running.client() as client:
        task_id = submit(client, 0.1)
        wait_for(lambda: client.get(f"/tasks/{task_id}").json()["state"] == "completed", "a task of ours ends", 60)
    wait_for(lambda: len(containers(engine)) == 1, "what is ours was removed", 30)
    assert containers(engine) == [foreign]
    subprocess.run(["docker", "--host", engine.address, "rm", foreign], check=True, capture_output=True)


def test_a_run_survives_the_death_of_the_whole_platform(engine: TestDaemon, running: Running) -> None:
    with running.client() as client:
        task_id = submit(client)
        wait_until_it_tells(client, task_id)
    running.started.process.kill()
    running.started.process.wait(10)
    ready_file: Path = running.started.ready_file
    ready_file.unlink(missing_ok=True)
    running.started = launch(running.data, ready_file, settings_for(engine))
    running.started.ready()
    with running.client() as client:
        check_ended_once(client, task_id)
        wait_for(lambda: containers(engine) == [], "nothing is left of it", 30)
