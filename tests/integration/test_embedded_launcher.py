"""`mecapy up`'s launcher with real PostgreSQL, Valkey and spawner, and a stand-in for the platform's own parts."""

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from support.platform.embedded_process import NOBODY, Started, is_alive, launched, open_directory, wait_for
from support.platform.other_user import opened_by_an_outsider

PARTS = [
    "launcher",
    "spawner",
    "postgresql",
    "valkey",
    "api",
    "relay",
    "worker-high_priority",
    "worker-default",
    "worker-long_running",
]
IS_ROOT = os.geteuid() == 0
USERS = [
    pytest.param(None, id="as_we_are"),
    pytest.param(NOBODY, id="ordinary_user", marks=pytest.mark.skipif(not IS_ROOT, reason="needs root")),
]


@pytest.fixture(params=USERS)
def uid(request: pytest.FixtureRequest) -> int | None:
    value: int | None = request.param
    return value


@pytest.fixture
def place(uid: int | None) -> Iterator[Path]:
    with open_directory(uid) as path:
        yield path


def answer(started: Started) -> dict[str, int]:
    with urlopen(started.ready()["url"]) as response:
        content: dict[str, int] = json.loads(response.read())
        return content


def test_up_starts_every_part_and_ends_them_all(place: Path, uid: int | None) -> None:
    with launched(place / "data", uid=uid) as started:
        ready = started.ready()
        assert list(ready["parts"]) == PARTS
        assert answer(started)["pid"] == ready["parts"]["api"][0]
        pids = [process.pid for process in started.tree()]
        assert started.finish() == 0
    assert not [pid for pid in pids if is_alive(pid)]
    assert not started.ready_file.exists()
    assert [
        (place / f"data/files/worker-{lane}").read_text() for lane in ("high_priority", "default", "long_running")
    ] == ["drained"] * 3


def test_up_listens_on_loopback_alone(place: Path, uid: int | None) -> None:
    with launched(place / "data", uid=uid) as started:
        started.ready()
        addresses = {
            net_connection.laddr.ip
            for process in started.tree()
            for net_connection in process.net_connections("inet")
            if net_connection.status == psutil.CONN_LISTEN
        }
    assert addresses == {"127.0.0.1"}


def test_secrets_are_closed_to_others_and_kept(place: Path, uid: int | None) -> None:
    with launched(place / "data", uid=uid) as started:
        first = started.ready()
        started.finish()
    files = [path for path in (place / "data/secrets").iterdir() if path.is_file()]
    before = {
        path.name: json.loads(path.read_text()).get("passwords") if path.suffix == ".json" else path.read_text()
        for path in files
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    with launched(place / "data", uid=uid) as started:
        assert started.ready()["url"] == first["url"]
    after = {
        path.name: json.loads(path.read_text()).get("passwords") if path.suffix == ".json" else path.read_text()
        for path in files
    }
    assert after == before


def test_what_an_earlier_version_left_open_is_closed_at_the_next_start(place: Path, uid: int | None) -> None:
    with launched(place / "data", uid=uid) as started:
        started.ready()
    data = place / "data"
    (data / "files/work/1").mkdir(parents=True)
    (data / "files/work/1/data.json").write_text("{}")
    folders = [data, *(data / name for name in ("files", "files/work", "files/work/1", "secrets", "logs", "run/pg"))]
    for path in (*folders, *(data / "logs").iterdir(), data / "files/work/1/data.json"):
        path.chmod(0o755)
    if IS_ROOT and uid is None:
        os.chown(data / "secrets/issuer.pem", 1, 1)
    with launched(data, uid=uid) as again:
        again.ready()
        opened = opened_by_an_outsider(data) if IS_ROOT else []
        assert {name for name in opened if not name.startswith(("run/sp", "run/passwd", "run/group"))} <= {"issuer.pub"}
        assert stat.S_IMODE((data / "files").stat().st_mode) == 0o700
        assert (data / "secrets/issuer.pem").stat().st_uid == (uid or os.geteuid())


def test_a_killed_launcher_leaves_no_process_and_the_next_start_recovers(place: Path, uid: int | None) -> None:
    with launched(place / "data", uid=uid) as started:
        started.ready()
        pids = [process.pid for process in started.tree()]
        started.finish(signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "every process gone", 15)
    assert started.ready_file.exists()
    with launched(place / "data", uid=uid) as again:
        wait_for(lambda: not again.ready_file.exists() or again.lines, "the old ready file is removed first")
        assert again.said("ready at")
        assert again.ready()["parts"]["launcher"] == [again.process.pid]


def test_a_second_up_says_who_holds_the_directory(place: Path, uid: int | None) -> None:
    with launched(place / "data", uid=uid) as first:
        url = first.ready()["url"]
        with launched(place / "data", "--ready-file", str(place / "other.ready"), uid=uid) as second:
            code = second.process.wait(30)
            second.finish()
        assert code == 1
        assert any(f"held by pid {first.process.pid}, at {url}" in line for line in second.lines)
        assert first.ready_file.exists()


def test_two_directories_work_side_by_side(place: Path, uid: int | None) -> None:
    with launched(place / "one", uid=uid) as one, launched(place / "two", uid=uid) as two:
        first, second = one.ready(), two.ready()
        assert first["url"] != second["url"]
        users = {answer(one)["uid"], answer(two)["uid"]}
    assert len(users) == (2 if IS_ROOT and uid is None else 1)


@pytest.fixture(scope="module")
def running() -> Iterator[Started]:
    """One platform for the tests that leave it as healthy as they found it."""
    with open_directory() as place, launched(place / "data") as started:
        started.ready()
        yield started


def fresh_pid(running: Started, name: str, old: int) -> int:
    def look() -> list[int]:
        return [part for part in running.ready()["parts"][name] if part != old]

    return int(wait_for(look, "a new pid in the ready file")[0])


@pytest.mark.parametrize("name", ["api", "relay", "worker-default", "valkey", "postgresql", "spawner"])
def test_a_killed_part_is_started_again_and_said_so(running: Started, name: str) -> None:
    pid = running.ready()["parts"][name][0]
    os.kill(pid, signal.SIGKILL)
    running.said(f"{name} ended (killed by SIGKILL)")
    running.said(f"{name} is running again")
    assert is_alive(fresh_pid(running, name, pid))


def test_a_part_that_keeps_dying_is_started_less_and_less_often(running: Started) -> None:
    before = len(running.lines)
    for _ in range(3):
        pid = running.ready()["parts"]["worker-long_running"][0]
        os.kill(pid, signal.SIGKILL)
        fresh_pid(running, "worker-long_running", pid)
    pauses = [line.rpartition(" in ")[2] for line in running.lines[before:] if "worker-long_running ended" in line]
    assert pauses == ["0.25 s", "0.5 s", "1 s"]


@pytest.mark.skipif(not IS_ROOT, reason="root keeps the users of parts apart")
def test_no_part_of_a_roots_platform_but_the_spawner_stays_root(running: Started) -> None:
    parts = running.ready()["parts"]
    uids = {name: psutil.Process(pids[0]).uids().real for name, pids in parts.items()}
    assert {name for name, uid in uids.items() if uid == 0} == {"launcher", "spawner"}
    assert uids["postgresql"] == uids["valkey"] != uids["api"] == uids["relay"] == uids["worker-default"]


@pytest.mark.skipif(not IS_ROOT, reason="root makes a private view of closed directories")
def test_a_root_platform_below_a_closed_directory_works_and_leaves_no_mount(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = mounts_around(closed)
    with launched(closed / "data") as started:
        assert answer(started)["uid"] > 0
        assert mounts_around(closed) == before
    assert mounts_around(closed) == before


def mounts_around(directory: Path) -> list[str]:
    """Lines of the mount table at this directory, above it or below it.

    Docker of another test mounts elsewhere meanwhile.
    """
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = {line: Path(line.split()[1]) for line in lines}
    return [
        line for line, point in points.items() if point.is_relative_to(directory) or directory.is_relative_to(point)
    ]


def test_a_port_in_use_is_said_when_it_was_asked_for(running: Started) -> None:
    port = running.ready()["url"].rpartition(":")[2]
    with open_directory() as place, launched(place / "two", "--port", port) as two:
        assert two.process.wait(30) == 1
        two.finish()
    assert any(f"Cannot listen on 127.0.0.1 port {port}" in line for line in two.lines)


@pytest.mark.skipif(not IS_ROOT, reason="needs both users")
def test_a_directory_of_root_tells_an_ordinary_user_what_to_do() -> None:
    with open_directory() as place:
        with launched(place / "data") as started:
            started.ready()
        with launched(place / "data", uid=NOBODY) as other:
            assert other.process.wait(30) == 1
            other.finish()
    text = "\n".join(other.lines)
    assert "another" in text
    assert "Traceback" not in text


def test_ctrl_c_at_the_console_drains(tmp_path: Path) -> None:
    with open_directory() as place, launched(place / "data") as started:
        started.ready()
        assert started.finish(signal.SIGINT) == 0
        assert (place / "data/files/worker-default").read_text() == "drained"
        postgres_log = (place / "data/logs/postgresql.log").read_text()
    assert "database system is shut down" in postgres_log
