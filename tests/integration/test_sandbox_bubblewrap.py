import gc
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from integration.machine_contract import MachineContract
from integration.sandbox_contract import (
    Bench,
    ConfinementContract,
    SandboxContract,
    bench_for,
    follow,
    wait_until,
)
from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox.base import EndReason, Sandbox, StopReason
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.sandbox.spawner.config import RunLimits


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = BubblewrapSandbox()
    yield made
    made.close()


@pytest.fixture
def bench(sandbox: Sandbox) -> Iterator[Bench]:
    with bench_for(sandbox) as made:
        yield made


class TestBubblewrap(SandboxContract, ConfinementContract, MachineContract):
    """As whoever runs the tests."""

    def test_an_unknown_tool_is_refused_by_name(self, bench: Bench) -> None:
        with pytest.raises(SandboxError, match="rm"):
            bench.sandbox.start(replace(bench.spec("double"), needs=("rm",)))


class TestOwnSpawner:
    def test_nothing_is_left_when_the_backend_closes(self, bench: Bench) -> None:
        own = BubblewrapSandbox()
        run = own.start(bench.spec("silent"))
        assert own._local is not None
        name, process = Path(own._local.directory).name, own._local.process
        own.close()
        assert process.poll() is not None
        assert not Path(own._local.directory if own._local else f"/tmp/{name}").exists()
        assert not list(Path("/sys/fs/cgroup").glob(f"**/mecapy-{name}"))
        assert name not in Path("/proc/mounts").read_text()
        outcome = follow(run)
        assert outcome.ended.reason is EndReason.MACHINE
        run.close()

    def test_a_closed_backend_closes_its_lifeline_once(self) -> None:
        own = BubblewrapSandbox()
        address = own._own_address()
        assert own._local is not None
        lifeline = own._local.lifeline
        own.close()
        taken = os.open("/dev/null", os.O_RDONLY)
        while taken < lifeline:
            taken = os.open("/dev/null", os.O_RDONLY)
        del own
        gc.collect()
        assert os.fstat(lifeline).st_rdev == Path("/dev/null").stat().st_rdev
        assert not Path(address).exists()

    def test_a_killed_spawner_takes_its_runs_along_and_the_next_start_makes_a_new_one(self, bench: Bench) -> None:
        own = BubblewrapSandbox()
        marker = f"marker-{os.getpid()}-{bench.folder.name}"
        with own.start(bench.spec("silent", {"marker": marker})) as run:
            wait_until(lambda: _is_running(marker))
            assert own._local is not None
            own._local.process.send_signal(signal.SIGKILL)
            outcome = follow(run)
        assert outcome.ended.reason is EndReason.MACHINE
        wait_until(lambda: not _is_running(marker))
        assert not _is_running(marker)
        with own.start(bench.spec("double", {"value": 1})) as run:
            assert follow(run).result == {"result": 2}
        own.close()

    def test_a_new_spawner_of_the_same_name_removes_groups_of_its_dead_predecessor(self, tmp_path: Path) -> None:
        base = Path("/sys/fs/cgroup/memory")
        if os.geteuid() != 0 or not base.is_dir():
            pytest.skip("needs root and cgroup version 1")
        first = LocalSpawner.start(name="stale-test")
        wait_until(lambda: bool(list(base.glob("**/mecapy-stale-test/run-*"))))
        first.process.kill()
        first.process.wait()
        left = {path.name for path in base.glob("**/mecapy-stale-test/run-*")}
        second = LocalSpawner.start(name="stale-test")
        wait_until(lambda: not left & {path.name for path in base.glob("**/mecapy-stale-test/run-*")})
        assert not left & {path.name for path in base.glob("**/mecapy-stale-test/run-*")}
        first.stop()
        second.stop()
        assert not list(base.glob("**/mecapy-stale-test"))

    @pytest.mark.parametrize(
        "change",
        [
            {"package": "/etc"},
            {"package": "/srv/../etc"},
            {"inputs": "relative"},
            {"environment": {"LD_PRELOAD": "/x.so"}},
            {"environment": {"lower": "x"}},
            {"extra": 1},
            {"tools": "ccx"},
            {"limits": {"cpu": -1}},
        ],
    )
    def test_a_request_beyond_what_is_allowed_is_refused(self, tmp_path: Path, change: dict[str, object]) -> None:
        spawner = LocalSpawner.start(roots=(str(tmp_path),))
        request: dict[str, object] = {
            "interpreter": str(tmp_path),
            "package": str(tmp_path),
            "inputs": str(tmp_path),
            "site_packages": None,
            "tools": [],
        }
        limits = dict.fromkeys((field.name for field in fields(RunLimits)), 1)
        request |= {"site_packages": None, "environment": {}, "guest": "{}", "limits": limits, **change}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(spawner.address)
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [1, 2])
            answer = json.loads(connection.recv(65536))
        spawner.stop()
        assert answer["error"]

    def test_stopping_before_the_guest_is_up_ends_it(self, bench: Bench) -> None:
        with bench.sandbox.start(bench.spec("silent")) as run:
            run.stop(StopReason.CANCELLED)
            outcome = follow(run)
        assert outcome.ended.reason is EndReason.STOPPED
        assert outcome.ended.usage.wall_seconds < 5


def _is_running(marker: str) -> bool:
    return subprocess.run(["pgrep", "-f", f"time.sleep.60. {marker}"], capture_output=True, check=False).returncode == 0
