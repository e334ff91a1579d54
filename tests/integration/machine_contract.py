"""What a backend does with what lies on the machine: interpreters, libraries, tools. Its own self-test holds there."""

import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from integration.sandbox_contract import Bench, follow
from mecapy_platform.core.errors import SandboxError

PYENV = Path.home() / ".pyenv" / "versions"


class MachineContract:
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
        assert bench.run("structures", interpreter=found[0]).result["named"] == {"a": 1, "b": [True, None]}

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
