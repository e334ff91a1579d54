"""Many tasks with inputs of many megabytes through a whole platform: what is stored costs the API no memory."""

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from support.platform.embedded_process import wait_for
from support.platform.running_platform import Running, archive, deploy, platform

MIB = 1 << 20
ALLOWED_BYTES = 64 * MIB
TASKS, VALUE_BYTES = 12, 15 * MIB
AT_ONCE = TASKS
MANIFEST = """
version: "1"
package: {name: echo, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
functions:
  back:
    handler: echo:back
    inputs: {data: Object}
    outputs: {data: String}
    resources: {tier: small, timeout: 120}
"""
CODE = """
def back(data):
    return {"data": data}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform() as started, started.client() as client:
        deploy(client, archive(MANIFEST, {"echo.py": CODE}), organization="demo")
        yield started


class Memory:
    """Of the API's process: the most that it had since the last `reset`, above what it has when it does nothing."""

    def __init__(self, running: Running) -> None:
        self._running, self._pids = running, running.parts["api"]
        self._folder = Path("/proc", str(self._pids[0]))
        (self._folder / "clear_refs").write_text("5")
        self._idle_bytes = self._status("VmRSS")

    def check(self, what: str) -> None:
        above = self._status("VmHWM") - self._idle_bytes
        sys.stdout.write(f"{what}: {above / MIB:.1f} MiB above idle\n")
        assert above <= ALLOWED_BYTES, what
        assert self._running.parts["api"] == self._pids, "it is the same process still"

    def _status(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def submit(client: httpx2.Client, inputs: object) -> str:
    content = json.dumps({"package": "echo", "function": "back", "inputs": {"data": inputs}})
    answer = client.post("/tasks", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def at_once(running: Running, ask: Callable[[httpx2.Client, str], int], task_ids: list[str]) -> int:
    """Each of the tasks by a client of its own, all of them at the same time; the bytes that came."""

    def one(task_id: str) -> int:
        with client(running) as asking:
            return ask(asking, task_id)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(one, task_ids))


@contextmanager
def client(running: Running) -> Iterator[httpx2.Client]:
    with running.client() as made:
        yield made


def read(asking: httpx2.Client, path: str) -> int:
    """The bytes of an answer, which the test does not keep either."""
    with asking.stream("GET", path) as answer:
        assert answer.status_code == 200, path
        return sum(len(piece) for piece in answer.iter_bytes())


@pytest.mark.slow
def test_tasks_with_large_inputs_and_results_cost_the_api_no_memory(running: Running) -> None:
    with running.client() as asking:
        first = submit(asking, "x" * 300_000)  # what large bodies need is there, as after the first of them
        read(asking, f"/tasks/{first}")
        memory = Memory(running)
        ids = [submit(asking, "x" * VALUE_BYTES) for _ in range(TASKS)]
        memory.check("submits")
        for path in ("/tasks?limit=200", "/jobs?limit=200"):
            assert read(asking, path) < MIB
        assert at_once(running, lambda one, task_id: read(one, f"/tasks/{task_id}"), ids) < MIB
        assert at_once(running, lambda one, task_id: read(one, f"/tasks/{task_id}?wait=1"), ids) < MIB
        assert at_once(running, lambda one, task_id: read(one, f"/jobs/{task_id}"), ids) < MIB
        memory.check("lists and looks")
        wait_for(lambda: ended(asking) == TASKS + 1, "the end of all tasks", 300)
        assert at_once(running, lambda one, task_id: read(one, f"/tasks/{task_id}?wait=5"), ids) < MIB
        memory.check("ends")
        sent = at_once(running, lambda one, task_id: read(one, f"/jobs/{task_id}/result"), ids)
        assert sent > 2 * TASKS * VALUE_BYTES
        assert at_once(running, lambda one, task_id: read(one, f"/tasks/{task_id}/inputs"), ids) > TASKS * VALUE_BYTES
        assert at_once(running, lambda one, task_id: read(one, f"/tasks/{task_id}/result"), ids) > TASKS * VALUE_BYTES
        memory.check("all values at once")
        again = asking.post(f"/tasks/{ids[0]}/retry").json()["id"]
        wait_for(lambda: asking.get(f"/tasks/{again}").json()["state"] == "completed", "the end of a retry", 60)
        memory.check("a retry")


def ended(asking: httpx2.Client) -> int:
    tasks = asking.get("/tasks", params={"limit": 200}).json()["tasks"]
    assert {task["state"] for task in tasks} <= {"queued", "running", "completed"}, tasks
    return sum(task["state"] == "completed" for task in tasks)
