"""When what is given to the platform runs out of memory, no task is blamed that was below its own limit.

A control group above the spawner's own stands for the machine.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from integration.sandbox_contract import Bench, bench_for, follow
from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.embedded import interpreters
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import EndReason
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits
from mecapy_platform.sandbox.spawned_group import GroupLimits
from mecapy_platform.sandbox.spawner import cgroups
from mecapy_platform.worker.fetch_process import FetchLimits, fetch
from support.backends.warm_runs import is_warm

MEMORY = Path("/sys/fs/cgroup/memory")
MACHINE_MB = 384
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root alone may limit a group above its own"),
    pytest.mark.skipif(not MEMORY.is_dir(), reason="control groups of version 1"),
]
TAKES = "kept = [bytearray(b'x' * (1 << 20)) for _ in range(1000)]"


@pytest.fixture
def small_machine() -> Iterator[Path]:
    """A group whose memory is that of the machine, as far as what is started in it can tell."""
    own = next(line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line)
    here = MEMORY / own.strip("/")
    here = here if here.is_dir() else MEMORY
    folder = here / f"small-machine-{os.getpid()}"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(MACHINE_MB << 20))
    (folder / "cgroup.procs").write_text(str(os.getpid()))
    try:
        started = LocalSpawner.start()
    finally:
        (here / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield Path(started.address)
    finally:
        started.stop()
        with suppress(FileNotFoundError):
            for child in folder.glob("mecapy-*"):
                child.rmdir()
        folder.rmdir()


@pytest.fixture
def bench(small_machine: Path) -> Iterator[Bench]:
    sandbox = BubblewrapSandbox(small_machine, warm=WarmLimits(slots=1))
    with bench_for(sandbox) as made:
        yield made
        sandbox.close()


def test_a_cold_run_that_the_machine_had_no_memory_for_is_a_fault_of_the_machine(bench: Bench) -> None:
    ended = bench.run("takes_memory", {"megabytes": 800}, memory_mb=1024).ended
    assert (ended.reason, ended.detail) == (EndReason.MACHINE, endings.MACHINE_SHORT_OF_MEMORY)
    assert bench.run("takes_memory", {"megabytes": 400}, memory_mb=64).ended.reason is EndReason.OUT_OF_MEMORY


def test_a_warm_call_that_the_machine_had_no_memory_for_is_a_fault_of_the_machine(bench: Bench) -> None:
    spec = replace(bench.spec("takes_memory", {"megabytes": 800}, memory_mb=1024), organization="first", is_warm=True)
    assert isinstance(bench.sandbox, BubblewrapSandbox)
    assert bench.sandbox.warm is not None
    bench.sandbox.warm.make_ready(spec, ())
    with bench.sandbox.start(spec) as run:
        assert is_warm(run)
        ended = follow(run).ended
    assert (ended.reason, ended.detail) == (EndReason.MACHINE, endings.MACHINE_SHORT_OF_MEMORY)


def test_a_fetch_that_the_machine_had_no_memory_for_is_tried_again(small_machine: Path, tmp_path: Path) -> None:
    python = str(next(iter(interpreters.find().values())).executable)
    limits = FetchLimits(60, 1 << 30, spawner=small_machine, group=GroupLimits(1024, 100, 1), may_be_root=True)
    with pytest.raises(UnavailableError) as raised:
        fetch(lambda _filter: [python, "-c", TAKES], [tmp_path], limits)
    assert raised.value.code == "fetch_killed"


def test_a_ring_for_a_group_above_is_heard_once_and_kept_in_mind(small_machine: Path) -> None:
    """It rings for every group below: none may be looked at over and over for it."""
    folder = next(MEMORY.rglob(f"small-machine-{os.getpid()}"))
    names = ("memory", "pids", "cpu", "cpuacct")
    groups = {name: str(folder / "beside" if name == "memory" else f"/sys/fs/cgroup/{name}/beside") for name in names}
    group = cgroups.RunCgroup(cgroups.CgroupBase(1, groups), "run-1")
    event = group.watch_oom()
    assert event is not None
    try:
        assert not group.was_told_lately()
        bench_of_another(small_machine)
        group.hear_oom()
        assert group.was_told_lately()
        with pytest.raises(BlockingIOError):
            os.eventfd_read(event)
        assert group.memory_kills().own == 0
    finally:
        group.forget_oom()
        group.remove()
        for path in groups.values():
            Path(path).rmdir()


def bench_of_another(spawner: Path) -> None:
    """A fetch beside it that takes all memory there is."""
    python = str(next(iter(interpreters.find().values())).executable)
    limits = FetchLimits(60, 1 << 30, spawner=spawner, group=GroupLimits(1024, 100, 1), may_be_root=True)
    with tempfile.TemporaryDirectory() as folder, pytest.raises(UnavailableError):
        fetch(lambda _filter: [python, "-c", TAKES], [Path(folder)], limits)
