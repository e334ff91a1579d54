"""Many tasks of 2 GiB on one small worker.

What is reserved, and what is really used, stays below what the worker declared.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
import psycopg
import pytest

from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout
from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, archive, deploy, platform

pytestmark = pytest.mark.machine

TASKS = 300
TASK_MIB = 2048
DECLARED_MIB = 8192
ENOUGH_CPU = {"MECAPY_CPU_OVERCOMMIT": "32"}  # memory is what runs out
MANIFEST = """
version: "1"
package: {name: meshes, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
functions:
  quick:
    {handler: "meshes:fill", inputs: {mib: Integer, seconds: Float}, outputs: {mib: Integer},
     resources: {tier: small, timeout: 5}}
  usual:
    {handler: "meshes:fill", inputs: {mib: Integer, seconds: Float}, outputs: {mib: Integer},
     resources: {tier: small, timeout: 60}}
  long:
    {handler: "meshes:fill", inputs: {mib: Integer, seconds: Float}, outputs: {mib: Integer},
     resources: {tier: small, timeout: 600}}
platform:
  functions:
    quick: {retries: {max: 5, on: [timeout]}} # of a busy test machine
"""
CODE = """
from time import sleep

def fill(mib, seconds):
    held = bytearray(mib << 20)
    held[::4096] = b"x" * (mib << 8)
    sleep(seconds)
    return {"mib": len(held) >> 20}
"""
UNFINISHED = "SELECT count(*) FROM tasks WHERE completed_at IS NULL"
RESERVED = "SELECT node, sum(memory_mb), count(*) FROM attempts WHERE ended_at IS NULL GROUP BY node"


@dataclass
class Watch:
    """The most that was seen at one moment, in MiB: reserved by running attempts, and used by all sandboxes."""

    reserved: int = 0
    at_once: int = 0
    used: int = 0
    looks: int = 0
    nodes: set[str] = field(default_factory=set)

    def look_at_reserved(self, connection: psycopg.Connection) -> None:
        for node, reserved, count in connection.execute(RESERVED):
            self.nodes.add(node)
            self.reserved, self.at_once = max(self.reserved, int(reserved)), max(self.at_once, count)

    def look_at_used(self, spawner: int) -> None:
        self.used = max(self.used, proportional_mib(spawner))
        self.looks += 1


def proportional_mib(pid: int) -> int:
    """Proportional memory of all that a process has started."""
    total = 0
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error, OSError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total >> 10


def kernel_peak_mib(running: Running) -> int | None:
    """What the kernel counted at most for all sandboxes together, where it counts for us (control groups)."""
    name = f"mecapy-{Layout(running.data).instance_name}"
    for file in ("memory.max_usage_in_bytes", "memory.peak"):
        for found in Path("/sys/fs/cgroup").glob(f"**/{name}/{file}"):
            return int(found.read_text()) >> 20
    return None


@contextmanager
def database(running: Running) -> Iterator[psycopg.Connection]:
    layout = Layout(running.data)
    values = secrets.read(layout)
    assert values is not None
    host, password = str(layout.postgres_run), values.passwords["mecapy_worker"]
    with psycopg.connect(
        host=host, dbname="mecapy", user="mecapy_worker", password=password, autocommit=True
    ) as connection:
        yield connection


@contextmanager
def watched(running: Running) -> Iterator[Watch]:
    """Look at both sums, again and again, while the block runs."""
    watch, over = Watch(), threading.Event()

    def reserved() -> None:
        with database(running) as connection:
            while not over.wait(0.02):
                watch.look_at_reserved(connection)

    def used() -> None:
        while not over.wait(0.25):
            watch.look_at_used(running.parts["spawner"][0])

    threads = [threading.Thread(target=look) for look in (reserved, used)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        over.set()
        for thread in threads:
            thread.join()


def request(number: int) -> dict[str, object]:
    """Lanes in turn; most touch 200 MB for a moment, some also hold them, a few touch half of what they reserve."""
    function = ("quick", "usual", "long")[number % 3]
    inputs = {"mib": 1024 if number % 30 == 1 else 200, "seconds": 0.3 if number % 4 == 0 else 0.0}
    return {"package": "meshes", "function": function, "inputs": inputs, "name": str(number)}


def submit(client: httpx2.Client, requests: list[dict[str, object]]) -> list[str]:
    answer = client.post("/tasks/bulk", json={"tasks": requests})
    assert answer.status_code == 200, answer.text
    assert answer.json()["refused"] == 0, answer.text
    return [result["task"]["id"] for result in answer.json()["results"]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_hundred_tasks_of_two_gib_stay_within_what_the_worker_declared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with platform({"MECAPY_WORKER_MEMORY_MB": str(DECLARED_MIB), **ENOUGH_CPU}) as running, running.client() as client:
        deploy(client, archive(MANIFEST, {"meshes.py": CODE}), organization="demo")
        with watched(running) as watch:
            ids = submit(client, [request(number) for number in range(TASKS)])
            waiting = client.get(f"/tasks/{ids[-1]}").json()["waiting"]
            with database(running) as connection:
                wait_for(lambda: connection.execute(UNFINISHED).fetchone() == (0,), "the end of all", 240)
            ends = Counter(client.get(f"/tasks/{task_id}").json()["state"] for task_id in ids)
        peak = kernel_peak_mib(running)
    with capsys.disabled():
        shown = (
            f"at most {watch.at_once} at once, {watch.reserved} MiB reserved, {watch.used} MiB used, {peak} MiB "
            f"by the kernel"
        )
        print(f"\n{TASKS} tasks of {TASK_MIB} MiB on {DECLARED_MIB} MiB: {shown}; {watch.looks} looks")  # noqa: T201 - the figures
    assert set(ends) == {"completed"}
    assert waiting["code"] in {"behind_others", "capacity"}
    assert len(watch.nodes) == 1
    assert (watch.reserved, watch.at_once) == (DECLARED_MIB, DECLARED_MIB // TASK_MIB)
    assert 200 <= watch.used <= DECLARED_MIB
    assert peak is None or 1024 <= peak <= DECLARED_MIB


def test_a_task_that_no_worker_can_hold_is_refused_at_submit_and_leaves_nothing() -> None:
    with platform({"MECAPY_WORKER_MEMORY_MB": "1024"}) as running, running.client() as client:
        deploy(client, archive(MANIFEST, {"meshes.py": CODE}), organization="demo")
        answer = client.post("/tasks", json=request(1))
        assert (answer.status_code, answer.json()["code"]) == (422, "never_fits")
        assert "2048 MiB" in answer.json()["detail"]
        assert "1024 MiB" in answer.json()["detail"]
        (verdict,) = client.post("/tasks/bulk", json={"tasks": [request(1)]}).json()["results"]
        assert (verdict["task"], verdict["error"]["code"]) == (None, "never_fits")
        assert client.get("/tasks").json()["tasks"] == []
