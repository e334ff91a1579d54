"""Fetching requirements: from the package index alone, wheels alone, whatever the package asks for."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.core.errors import ConfigurationError, InvalidInputError, UnavailableError
from mecapy_platform.core.requirements import read_requirements
from mecapy_platform.embedded import interpreters, programs
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.sandbox.spawned_group import GroupLimits, SpawnedGroup
from mecapy_platform.settings import Settings
from mecapy_platform.worker import index_forward
from mecapy_platform.worker.fetch_process import FetchLimits
from mecapy_platform.worker.fetcher import Fetcher, make_fetcher
from mecapy_platform.worker.index_proxy import IndexProxy
from mecapy_platform.worker.interpreters import choose

FOUND = interpreters.find()


@pytest.fixture
def place() -> Iterator[Path]:
    """Below /tmp, which the confined uv sees empty but for what it is given."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


LIMITS = FetchLimits(120, 1 << 30, may_be_root=True)


@pytest.fixture
def fetcher(place: Path) -> Fetcher:
    made = make_fetcher(place / "cache", Settings().package_index_url, LIMITS, programs.bwrap())
    forward = place / "forward.py"
    shutil.copyfile(index_forward.__file__, forward)
    return Fetcher(made.uv, made.bwrap, made.cache, made.index_url, made.limits, forward)


def test_a_lock_names_hashes_and_is_installed_to_them(fetcher: Fetcher, place: Path) -> None:
    interpreter = next(iter(FOUND.values()))
    lock = fetcher.lock(["iniconfig"], interpreter, place)
    assert "iniconfig==" in lock
    assert "--hash=sha256:" in lock
    assert (fetcher.install(lock, interpreter, place) / "iniconfig/__init__.py").is_file()


def test_a_wheel_of_another_content_is_not_installed(fetcher: Fetcher, place: Path) -> None:
    lock = "iniconfig==2.0.0 --hash=sha256:" + "0" * 64 + "\n"
    with pytest.raises(InvalidInputError) as raised:
        fetcher.install(lock, next(iter(FOUND.values())), place)
    assert raised.value.code == "requirements_unsolvable"


def test_a_project_that_does_not_exist_is_named(fetcher: Fetcher, place: Path) -> None:
    with pytest.raises(InvalidInputError, match="mecapy-no-such-project-at-all") as raised:
        fetcher.lock(["mecapy-no-such-project-at-all"], next(iter(FOUND.values())), place)
    assert raised.value.code == "requirements_unsolvable"


INSIDE = """
import ctypes, json, os, resource, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
answers = {"refused": [], "limits": {}}
for name, number in (("unshare", 272), ("io_uring_setup", 425), ("ptrace", 101), ("keyctl", 250)):
    if libc.syscall(number, 0x10000000, 0, 0, 0, 0) != -1:
        answers["refused"].append(name)
for name in ("CORE", "DATA", "FSIZE", "NOFILE", "NPROC"):
    answers["limits"][name] = resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1]
open("/build/answers.json", "w").write(json.dumps(answers))
"""
FILLS = """
import time
with open("/build/large", "wb") as file:
    for _ in range(4096):
        file.write(bytes(1 << 20))
        file.flush()
"""
HANGS = "import threading; threading.Event().wait()"


def with_program(fetcher: Fetcher, place: Path, text: str, **limits: Any) -> Fetcher:
    """A program of ours in the place of uv: it does what one that was taken over by a wheel would."""
    program = place / "program"
    program.write_text(f"#!{next(iter(FOUND.values())).executable}\n{text}")
    program.chmod(0o755)
    return replace(fetcher, uv=program, limits=replace(fetcher.limits, **limits))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls by their numbers")
def test_what_fetches_runs_under_our_filter_and_limits(fetcher: Fetcher, place: Path) -> None:
    with pytest.raises(FileNotFoundError):  # it writes no lock
        with_program(fetcher, place, INSIDE).lock(["six"], next(iter(FOUND.values())), place)
    answers = json.loads((place / "answers.json").read_text())
    assert answers["refused"] == []
    limits = answers["limits"]
    assert limits["CORE"] == 0
    assert all(0 < limits[name] <= 8 << 30 for name in ("DATA", "FSIZE", "NOFILE", "NPROC"))


def test_an_environment_that_grows_too_large_is_the_packages_fault(fetcher: Fetcher, place: Path) -> None:
    with pytest.raises(InvalidInputError, match="more than 64 MiB") as raised:
        with_program(fetcher, place, FILLS, environment_bytes=64 << 20).lock(["six"], next(iter(FOUND.values())), place)
    assert raised.value.code == "environment_too_large"


def test_a_fetch_ends_at_its_time(fetcher: Fetcher, place: Path) -> None:
    with pytest.raises(UnavailableError) as raised:
        with_program(fetcher, place, HANGS, seconds=0.5).lock(["six"], next(iter(FOUND.values())), place)
    assert raised.value.code == "build_timeout"


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone is refused")
def test_nothing_is_fetched_as_root(fetcher: Fetcher, place: Path) -> None:
    refusing = replace(fetcher, limits=replace(fetcher.limits, may_be_root=False))
    with pytest.raises(ConfigurationError) as raised:
        refusing.lock(["six"], next(iter(FOUND.values())), place)
    assert raised.value.code == "fetch_as_root"


@pytest.mark.parametrize(
    "wanted", ["CONNECT 127.0.0.1:%d HTTP/1.1", "CONNECT localhost:%d HTTP/1.1", "GET http://127.0.0.1:%d/ HTTP/1.1"]
)
def test_the_proxy_connects_to_the_index_and_nowhere_else(place: Path, wanted: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as secret, IndexProxy(place / "proxy", frozenset({"index.invalid"})):
        secret.settimeout(0.5)
        with socket.socket(socket.AF_UNIX) as inside:
            inside.connect(str(place / "proxy"))
            inside.sendall((wanted % secret.getsockname()[1]).encode() + b"\r\n\r\n")
            assert b"200" not in inside.recv(100)
        with pytest.raises(TimeoutError):
            secret.accept()


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--index-url https://evil.invalid/simple",
        "-e .",
        "./wheel.whl",
        "six @ https://evil.invalid/six.whl",
        "git+https://evil.invalid/x",
    ],
)
def test_requirements_reach_nowhere_else(line: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read_requirements({"requirements.txt": f"numpy>=2\n{line}\n".encode()}.get)
    assert [problem.path for problem in raised.value.problems] == ["requirements.txt:2"]


def test_a_missing_interpreter_is_refused_by_name_and_replaced_only_when_allowed() -> None:
    newest = next(reversed(FOUND.values()))
    only = {newest.minor: newest}
    with pytest.raises(ConfigurationError, match=r"Python 3\.9 is not on this node"):
        choose(only, "3.9", allow_newer=False)
    assert choose(only, "3.9", allow_newer=True) == newest


GREEDY = """
kept = []
for _ in range(64):
    kept.append(bytearray(b"x" * (8 << 20)))
"""
FORKS = """
import os
made = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            import threading
            threading.Event().wait()
        made += 1
except OSError as error:
    open("/build/made", "w").write(f"{made} {error.errno}")
"""


@pytest.fixture
def spawner() -> Iterator[Path]:
    made = LocalSpawner.start()
    try:
        yield Path(made.address)
    finally:
        made.stop()


@pytest.fixture
def has_groups(spawner: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        group = SpawnedGroup.around(spawner, process.pid, GroupLimits(64, 10, 1))
        is_limited = group.is_limited
        group.end()
        process.kill()
    if not is_limited:
        pytest.skip("this machine gives us no control groups")


@pytest.mark.usefixtures("has_groups")
def test_a_fetch_that_takes_too_much_memory_ends_by_its_control_group(
    fetcher: Fetcher, place: Path, spawner: Path
) -> None:
    limited = with_program(fetcher, place, GREEDY, spawner=spawner, group=GroupLimits(128, 100, 1))
    with pytest.raises(InvalidInputError, match="more than 128 MiB of memory") as raised:
        limited.lock(["six"], next(iter(FOUND.values())), place)
    assert raised.value.code == "environment_too_large"


@pytest.mark.usefixtures("has_groups")
def test_a_fetch_makes_no_more_processes_than_its_control_group_has(
    fetcher: Fetcher, place: Path, spawner: Path
) -> None:
    limited = with_program(fetcher, place, FORKS, spawner=spawner, group=GroupLimits(512, 40, 1), seconds=30)
    with pytest.raises(FileNotFoundError):  # it writes no lock
        limited.lock(["six"], next(iter(FOUND.values())), place)
    made, number = map(int, (place / "made").read_text().split())
    assert 10 < made < 40
    assert number == errno.EAGAIN


@pytest.mark.usefixtures("has_groups")
def test_a_group_ends_with_all_that_is_in_it(spawner: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        SpawnedGroup.around(spawner, process.pid, GroupLimits(64, 10, 1)).end()
        assert process.wait(30) == -signal.SIGKILL


def test_a_spawner_puts_no_process_of_others_into_a_group(spawner: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of somebody else")
    with subprocess.Popen(["/bin/sleep", "600"], user=65534, group=65534, extra_groups=[]) as process:
        with pytest.raises(UnavailableError, match="no process of the owner's"):
            SpawnedGroup.around(spawner, process.pid, GroupLimits(64, 10, 1))
        assert process.poll() is None
        process.kill()


def test_without_a_spawner_that_answers_nothing_is_fetched(fetcher: Fetcher, place: Path) -> None:
    absent = with_program(fetcher, place, FILLS, spawner=place / "nobody")
    with pytest.raises(UnavailableError) as raised:
        absent.lock(["six"], next(iter(FOUND.values())), place)
    assert raised.value.code == "spawner_unreachable"
    assert not (place / "large").exists()
