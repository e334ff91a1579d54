import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration.sandbox_contract import PACKAGE, Bench, ConfinementContract, SandboxContract, follow
from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
from support.backends.docker_daemon import TestDaemon, daemon

PYENV = Path.home() / ".pyenv" / "versions"


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    with daemon() as started:
        yield started


@pytest.fixture(scope="module")
def sandbox(engine: TestDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerSandbox]:
    made = DockerSandbox(DockerOptions(tmp_path_factory.mktemp("runs"), engine.address))
    yield made
    made.close()


@pytest.fixture
def bench(sandbox: DockerSandbox) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(PACKAGE, folder / "package", ignore=shutil.ignore_patterns("__pycache__"))
    yield Bench(sandbox, folder, Path(sys.executable).resolve())
    shutil.rmtree(folder)


class TestDocker(SandboxContract, ConfinementContract):
    """Through a daemon of the tests' own."""

    def test_self_test_holds(self, bench: Bench) -> None:
        found = bench.sandbox.self_test()
        assert [check for check in found.checks if not check.holds] == []
        assert {"no network", "memory limit", "disk limit in bytes", "host files hidden"} <= {
            check.name for check in found.checks
        }

    @pytest.mark.parametrize("minor", [10, 11, 12, 13])
    def test_every_supported_interpreter_runs(self, bench: Bench, minor: int) -> None:
        found = sorted(PYENV.glob(f"3.{minor}.*/bin/python3.{minor}")) if PYENV.is_dir() else []
        found += [
            path
            for path in (Path(f"/usr/bin/python3.{minor}"), Path(f"/usr/local/bin/python3.{minor}"))
            if path.exists()
        ]
        if not found:
            pytest.skip(f"no Python 3.{minor} on this machine")
        assert bench.run("double", {"value": 2}, interpreter=found[0]).result == {"result": 4}

    def test_numpy_scipy_and_multiprocessing_work(self, bench: Bench) -> None:
        site = Path(sysconfig.get_paths()["purelib"])
        outcome = bench.run("uses_science", site_packages=site, memory_mb=1024, cpu=2)
        assert outcome.result == {
            "solution": [2.0, 3.0],
            "norm": 5.0,
            "squares": [0, 1, 4, 9],
            "count": 3,
            "flag": True,
        }

    def test_an_environment_that_is_no_environment_is_our_fault_and_said(self, bench: Bench) -> None:
        spec = bench.spec("double", {"value": 1})
        with pytest.raises(SandboxError, match="does not exist"):
            bench.sandbox.start(replace(spec, package=Path("/nonexistent")))

    def test_calculix_runs_where_it_is_installed(self, bench: Bench) -> None:
        if shutil.which("ccx") is None:
            pytest.skip("ccx is not installed")
        spec = replace(bench.spec("runs_tool", {"command": ["ccx", "-v"]}), needs=("ccx",))
        with bench.sandbox.start(spec) as run:
            assert "Version" in follow(run).result["result"]
