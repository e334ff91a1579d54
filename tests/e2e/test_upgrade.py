"""What the version before left behind, with tasks queued, running and in containers, goes on under the present code."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from support.platform.embedded_process import wait_for
from support.platform.running_platform import platform
from support.upgrades.restore import restore

FORMER = ("at_15eae80", "at_37e40fa")
# What the dump holds: see write_dump.py.
COMPLETED = {*range(5), *range(100, 106), *range(200, 212)}
SHORT = set(range(300, 312))  # three seconds of at most five: on a busy machine their time-out is an end as good
SETTINGS = {"MECAPY_WORKER_NAME": "node-1", "MECAPY_WORKER_CPU": "8", "MECAPY_DURABLE_ABSENCE_SECONDS": "5"}


@pytest.fixture(scope="module", params=FORMER)
def data(request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mecapy-upgrade-"))
    folder.chmod(0o755)
    with platform(data=folder / "data"):
        pass
    restore(request.param, folder / "data")
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def rows(data: Path, query: str) -> list[dict[str, Any]]:
    password = json.loads((data / "secrets" / "instance.json").read_text())["passwords"]["mecapy_worker"]
    place = {"host": str(data / "run" / "pg"), "dbname": "mecapy", "user": "mecapy_worker", "password": password}
    with psycopg.connect(**place, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def test_every_task_of_the_former_version_ends_once(data: Path) -> None:
    with platform(SETTINGS, data=data):
        before = Counter(row["state"] for row in rows(data, "SELECT state FROM tasks"))
        wait_for(
            lambda: not rows(data, "SELECT FROM tasks WHERE state IN ('queued', 'running')"),
            "the end of all tasks",
            150,
        )
        tasks = rows(data, "SELECT id::text, name, state, inputs, result, parked FROM tasks")
        ends = Counter(
            row["task_id"] for row in rows(data, "SELECT task_id::text FROM events WHERE kind = 'TaskFinished'")
        )
    assert before.total() == len(tasks)
    short = [task for task in tasks if task["inputs"]["nonce"] in SHORT]
    assert {task["state"] for task in short} <= {"completed", "timeout"}
    completed = {task["inputs"]["nonce"]: task["result"] for task in tasks if task["state"] == "completed"}
    assert set(completed) - SHORT == COMPLETED
    assert completed == {nonce: {"twice": 2 * nonce} for nonce in completed}
    others = Counter(task["state"] for task in tasks if task not in short and task["state"] != "completed")
    assert others == {"timeout": 1, "failed": 1, "cancelled": 1}
    assert set(ends.values()) == {1}
    assert set(ends) == {task["id"] for task in tasks}
    assert not any(task["parked"] for task in tasks)
