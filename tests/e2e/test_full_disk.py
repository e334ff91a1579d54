"""A data directory on a small file system that fills up.

Clear refusals, nothing corrupted, work goes on when space returns.
"""

import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout
from support.platform.embedded_process import is_alive, wait_for
from support.platform.running_platform import Running, archive, deploy, platform

pytestmark = pytest.mark.machine

MIB = 1 << 20
PAGE = 4096
DISK_MIB = 512
FLOOR_MIB = 64
PANIC_WAL_MIB = 64
ENDED_ITSELF = (
    "PANIC",
    "terminating any other active server processes",
)  # a process of its own could not write the log
MANIFEST = """
version: "1"
package: {{name: rods, version: {version}}}
runtime: {{kind: python, version: "3.11"}}
functions:
  stretch:
    handler: rods:stretch
    inputs: {{number: Integer, seconds: Float, specimen: {{type: "File[txt]", required: false}}}}
    outputs: {{number: Integer, curve: {{type: "File[csv]", required: true}}}}
    resources: {{tier: nano, timeout: 60}}
"""
CODE = """
from time import sleep

def stretch(number, seconds, specimen=None):
    for step in range(200):
        print(f"{number} {step} " + "." * 2000)
    sleep(seconds)
    with open("/workspace/out/files/curve.csv", "w") as file:
        file.write(f"{number}\\n" * 100_000)
    return {"number": number}
"""


class SmallDisk:
    """A file system of its own; `fill` leaves this many MiB, `free` gives the space back."""

    def __init__(self, point: Path) -> None:
        self.point = point
        self._ballast = point / "ballast"

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.point)
        return found.f_bavail * found.f_frsize

    def fill(self, left_mib: int = 0) -> None:
        """Others write meanwhile, so try until it is so."""
        with self._ballast.open("ab") as target:
            for _ in range(100):
                room = (self.free_bytes - left_mib * MIB) // PAGE * PAGE
                if room <= 0:
                    break
                with suppress(OSError):
                    os.posix_fallocate(target.fileno(), os.fstat(target.fileno()).st_size, room)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    with tempfile.TemporaryDirectory(prefix="mecapy-disk-", ignore_cleanup_errors=True) as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0755", "mecapy-test", name]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"this machine does not let us mount a small file system: {mounted.stderr.strip()}")
        try:
            yield SmallDisk(Path(name))
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@contextmanager
def on(disk: SmallDisk) -> Iterator[tuple[Running, httpx2.Client]]:
    """A platform on the disk with the package deployed; space is given back before it is stopped."""
    with (
        platform({"MECAPY_DISK_FLOOR_BYTES": str(FLOOR_MIB * MIB)}, data=disk.point / "data") as running,
        running.client() as client,
    ):
        deploy(client, package("1.0.0"), organization="demo")
        try:
            yield running, client
        finally:
            disk.free()


def package(version: str) -> bytes:
    return archive(MANIFEST.format(version=version), {"rods.py": CODE})


def request(number: int, seconds: float = 0.0) -> dict[str, Any]:
    return {"package": "rods", "function": "stretch", "inputs": {"number": number, "seconds": seconds}}


def submitted(client: httpx2.Client, number: int, seconds: float = 0.0) -> str:
    answer = client.post("/tasks", json=request(number, seconds))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def look(client: httpx2.Client, task_id: str) -> dict[str, Any]:
    answer = client.get(f"/tasks/{task_id}")
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {"state": None, "waiting": None}
    return found


def ended_well(client: httpx2.Client, task_id: str, number: int, seconds: float = 90) -> None:
    """Completed, with its own result and exactly one whole file."""
    wait_for(
        lambda: look(client, task_id)["state"] not in {None, "queued", "running"}, f"the end of task {number}", seconds
    )
    result = client.get(f"/tasks/{task_id}/result").json()
    assert (result["state"], result["result"]) == ("completed", {"number": number}), result
    (file,) = result["artifacts"]
    content = httpx2.get(file["url"]).content
    assert content == f"{number}\n".encode() * 100_000
    assert hashlib.sha256(content).hexdigest() == file["sha256"]


def refusals(client: httpx2.Client, package_id: str, old_task: str) -> dict[str, httpx2.Response]:
    """Everything that would have to write."""
    text = {"file": ("specimen.txt", b"x" * 1000)}
    path = f"/packages/{package_id}/functions/stretch"
    return {
        "upload": client.post(f"{path}/uploads", data={"var_name": "specimen"}, files=text),
        "deploy": client.post(
            f"/packages/{package_id}/versions/from-zip", files={"file": ("p.zip", package("1.0.1"), "application/zip")}
        ),
        "submit": client.post("/tasks", json=request(0)),
        "bulk": client.post("/tasks/bulk", json={"tasks": [request(0)]}),
        "execute": client.post(f"{path}/execute", json={"payload": {"number": 0, "seconds": 0.0}}),
        "retry": client.post(f"/tasks/{old_task}/retry"),
    }


def came_back(running: Running, disk: SmallDisk) -> bool:
    """Whether the relay was started again; what others free meanwhile is taken too."""
    disk.fill()
    return any("relay is running again" in line for line in running.started.lines)


def superuser(running: Running) -> psycopg.Connection:
    layout = Layout(running.data)
    values = secrets.read(layout)
    assert values is not None
    return psycopg.connect(
        host=str(layout.postgres_run),
        dbname="mecapy",
        user="postgres",
        password=values.passwords["postgres"],
        autocommit=True,
    )


def write_ahead(running: Running, mib: int) -> None:
    """Write-ahead log alone: where it cannot grow, PostgreSQL ends itself at once."""
    with superuser(running) as connection:
        for _ in range(mib):
            connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1 << 20))")


def panicked(running: Running) -> bool:
    """A connection that cannot be made on the full disk writes nothing: then another one tries."""
    with suppress(psycopg.OperationalError):
        write_ahead(running, PANIC_WAL_MIB)
    log = Layout(running.data).log("postgresql").read_text()
    return any(words in log for words in ENDED_ITSELF)


def finished_events(running: Running) -> dict[str, int]:
    with superuser(running) as connection:
        query = "SELECT task_id::text, count(*) FROM events WHERE kind = 'TaskFinished' GROUP BY task_id"
        return dict(connection.execute(query).fetchall())


def damage(running: Running) -> list[str]:
    """Pages whose checksum is wrong; every table is read."""
    with superuser(running) as connection:
        tables = [
            row[0] for row in connection.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 't')")
        ]
        for table in tables:
            connection.execute(f"SELECT count(*) FROM {table}")
        found = connection.execute("SELECT datname FROM pg_stat_database WHERE checksum_failures > 0").fetchall()
    return [str(row[0]) for row in found]


@pytest.mark.slow
def test_below_the_floor_everything_that_writes_is_refused_and_what_was_accepted_waits(disk: SmallDisk) -> None:
    with on(disk) as (running, client):
        package_id = client.get("/packages").json()["packages"][0]["id"]
        first = submitted(client, 1)
        ended_well(client, first, 1)
        accepted = {submitted(client, number, 3.0): number for number in range(2, 14)}
        running_now = next(iter(accepted))
        wait_for(lambda: look(client, running_now)["state"] == "running", "the first task to run")

        disk.fill(FLOOR_MIB // 2)

        answers = refusals(client, package_id, first)
        seen = {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()}
        assert seen == dict.fromkeys(answers, (507, "storage_full"))
        last = list(accepted)[-1]
        wait_for(
            lambda: (look(client, last)["waiting"] or {}).get("code") == "workers_refuse", "a waiting task to say why"
        )
        assert "MiB of disk are free" in look(client, last)["waiting"]["message"]
        wait_for(lambda: client.get("/ready").status_code == 503, "/ready to say so")
        ended_well(client, first, 1)
        assert disk.free_bytes > 0

        disk.free()

        for task_id, number in accepted.items():
            ended_well(client, task_id, number)
        ended_well(client, submitted(client, 99), 99)
        assert client.get("/ready").status_code == 200
        assert set(finished_events(running).values()) == {1}
        assert len(finished_events(running)) == len(accepted) + 2


@pytest.mark.slow
def test_a_disk_without_a_byte_left_loses_and_damages_nothing_even_when_postgresql_ends_itself(disk: SmallDisk) -> None:
    with on(disk) as (running, client):
        launcher = running.started.process.pid
        accepted = {submitted(client, number, 2.0): number for number in range(1, 13)}
        wait_for(lambda: look(client, next(iter(accepted)))["state"] == "running", "the first task to run")

        disk.fill()
        wait_for(lambda: panicked(running), "PostgreSQL to end itself")
        os.kill(running.parts["relay"][0], signal.SIGKILL)
        wait_for(lambda: came_back(running, disk), "the relay to come back")

        answer = client.post("/tasks", json=request(0))
        assert (answer.status_code, answer.json()["code"]) in {(507, "storage_full"), (503, "unavailable")}
        looks = [client.get(f"/tasks/{task_id}").status_code for task_id in accepted]
        assert set(looks) <= {200, 503}

        disk.free()

        for task_id, number in accepted.items():
            ended_well(client, task_id, number, 120)
        assert is_alive(launcher)
        assert finished_events(running) == dict.fromkeys(accepted, 1)
        assert damage(running) == []
        ended_well(client, submitted(client, 99), 99)
