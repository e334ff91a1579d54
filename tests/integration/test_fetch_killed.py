"""A fetch of requirements that is ended from outside, by its memory or at its deadline, alone and within a build."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import PackageVersion
from mecapy_platform.embedded import interpreters, programs
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.sandbox.spawned_group import GroupLimits
from mecapy_platform.settings import Settings
from mecapy_platform.worker.fetch_process import Fetched, FetchLimits, fetch
from mecapy_platform.worker.fetcher import Fetcher, make_fetcher
from mecapy_platform.worker.interpreters import choose
from support import factories
from support.platform.embedded_process import wait_for
from support.platform.worker_bench import ARCHIVE, WorkerBench, worker_bench

NAME = f"fetch-killed-{os.getpid()}"
LIMITS = FetchLimits(120, 1 << 30, may_be_root=True)
WAITS = 'echo $$ > "$0/pid"; while [ ! -e "$0/go" ]; do sleep 0.05; done; exit 1'
CHILD = 'sleep 600 & echo $! > "$0/pid"; wait $!'
HAS_GROUPS = pytest.mark.skipif(os.geteuid() != 0, reason="root alone is sure to get control groups")
PYTHON = choose(interpreters.find(), "3.11", allow_newer=True)  # as a build of the package in the bench does


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def spawner() -> Iterator[LocalSpawner]:
    made = LocalSpawner.start(name=NAME)
    yield made
    made.stop()


@contextmanager
def fetching(place: Path, program: str, limits: FetchLimits = LIMITS) -> Iterator["Future[Fetched]"]:
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(fetch, lambda _filter: ["/bin/sh", "-c", program, str(place)], [place], limits)
        wait_for(lambda: told.done() or pid_in(place) > 0, "the fetch has begun")
        try:
            yield told
        finally:
            (place / "go").touch()


def pid_in(place: Path) -> int:
    found = place / "pid"
    return int(found.read_text() or 0) if found.exists() else 0


def code_of(told: "Future[Fetched]") -> str:
    with pytest.raises(UnavailableError) as raised:
        told.result(60)
    return raised.value.code


@pytest.mark.parametrize("program", [WAITS, CHILD])
def test_a_fetch_that_is_killed_says_nothing_about_its_requirements(place: Path, program: str) -> None:
    """Itself, or what does its work: whoever stands between tells that by its exit code."""
    with fetching(place, program) as told:
        os.kill(pid_in(place), signal.SIGKILL)
        assert code_of(told) == "fetch_killed"


def test_a_fetch_that_fails_after_its_spawner_has_gone_says_nothing_about_its_requirements(
    place: Path, spawner: LocalSpawner
) -> None:
    with fetching(place, WAITS, replace_limits(spawner)) as told:
        spawner.process.kill()
        spawner.process.wait(30)
        (place / "go").touch()
        assert code_of(told) == "fetch_killed"


@HAS_GROUPS
def test_a_spawner_that_is_started_again_ends_the_fetch_of_the_one_before(place: Path, spawner: LocalSpawner) -> None:
    with fetching(place, WAITS, replace_limits(spawner)) as told:
        spawner.process.kill()
        spawner.process.wait(30)
        again = LocalSpawner.start(name=NAME)
        try:
            assert code_of(told) == "fetch_killed"
        finally:
            again.stop()


@HAS_GROUPS
def test_a_fetch_that_is_late_ends_with_all_that_it_has_started(place: Path, spawner: LocalSpawner) -> None:
    with fetching(place, CHILD, replace_limits(spawner, seconds=1.0)) as told:
        assert code_of(told) == "build_timeout"
    wait_for(lambda: not Path(f"/proc/{pid_in(place)}").exists(), "its child is gone")


def replace_limits(spawner: LocalSpawner, seconds: float = 120) -> FetchLimits:
    group = GroupLimits(128, 100, 1)
    return FetchLimits(seconds, 1 << 30, spawner=Path(spawner.address), group=group, may_be_root=True)


# As uv is called. The first call does what the test is about; the others find what they were asked for
PROGRAM = """#!{python}
import os, sys, threading
if not os.path.exists("/cache/tried"):
    open("/cache/tried", "w").close()
    {act}
if "compile" in sys.argv:
    open("requirements.lock", "w").close()
else:
    os.mkdir("site-packages")
"""
DIES = "os.kill(os.getpid(), 9)"
EATS = "kept = [bytearray(b'x' * (8 << 20)) for _ in range(64)]"
HANGS = "threading.Event().wait()"


@pytest.fixture
def bench(server: Postgres, database: Database) -> Iterator[WorkerBench]:
    with (
        tempfile.TemporaryDirectory(prefix="mecapy-fetch-", dir="/tmp") as folder,
        worker_bench(server, database, Path(folder)) as made,
    ):
        package = made.folder / "cache" / "packages" / ARCHIVE
        (package / "requirements.txt").write_text("six\n")
        yield made


def deploy(bench: WorkerBench) -> UUID:
    with bench.database.transaction() as session:
        session.execute(text("DELETE FROM package_versions"))
        organization = factories.organization_of(session)
    functions: dict[str, dict[str, Any]] = {}
    made = factories.ready_package(bench.database, organization, uuid4(), status="building", functions=functions)
    with bench.database.transaction() as session:
        version = session.get_one(PackageVersion, made.version_id)
        version.manifest = {
            **version.manifest,
            "runtime": {"kind": "python", "requirements": ["requirements.txt"]},
            "functions": {},
        }
    return made.version_id


def version_of(bench: WorkerBench, version_id: UUID) -> PackageVersion:
    with bench.database.transaction() as session:
        return session.get_one(PackageVersion, version_id)


def fetcher_of(bench: WorkerBench, act: str, spawner: LocalSpawner) -> Fetcher:
    program = bench.folder / "program"
    program.write_text(PROGRAM.format(python=PYTHON.executable, act=act))
    program.chmod(0o755)
    made = make_fetcher(bench.folder / "uv", Settings().package_index_url, replace_limits(spawner), programs.bwrap())
    return Fetcher(program, made.bwrap, made.cache, made.index_url, made.limits, made.forward)


def built(bench: WorkerBench, spawner: LocalSpawner, act: str, is_over: Callable[[PackageVersion], bool]) -> UUID:
    """Until a worker has come so far with the build."""
    version_id = deploy(bench)
    sandbox = BubblewrapSandbox(Path(spawner.address))
    settings: dict[str, Any] = {"build_timeout_seconds": 6.0 if act == HANGS else 120.0, "allow_newer_python": True}
    with bench.working(sandbox, fetcher=fetcher_of(bench, act, spawner), **settings) as worker:

        def is_there() -> bool:
            worker.poke()
            return is_over(version_of(bench, version_id))

        wait_for(is_there, "the build has come to it", 60)
    sandbox.close()
    return version_id


def test_a_build_whose_fetch_is_killed_is_tried_again_uncounted_and_ends_well(
    bench: WorkerBench, spawner: LocalSpawner
) -> None:
    logs: list[str] = []

    def is_ready(version: PackageVersion) -> bool:
        logs.append(version.build_log or "")
        return version.status == VersionStatus.READY

    version = version_of(bench, built(bench, spawner, DIES, is_ready))
    assert version.build_attempts == 1, "the killed fetch was no attempt"
    assert any("fetch_killed" in log for log in logs)


@HAS_GROUPS
def test_a_build_whose_fetch_takes_too_much_memory_is_the_packages_fault(
    bench: WorkerBench, spawner: LocalSpawner
) -> None:
    version = version_of(bench, built(bench, spawner, EATS, lambda found: found.status == VersionStatus.ERROR))
    assert version.error_code == "environment_too_large"


def test_a_build_whose_fetch_is_late_ends(bench: WorkerBench, spawner: LocalSpawner) -> None:
    version = version_of(bench, built(bench, spawner, HANGS, lambda found: found.status == VersionStatus.ERROR))
    assert version.error_code == "build_timeout"
