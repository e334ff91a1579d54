"""The same contract on machines that lack something.

What docs/howto/run-on-one-machine.md says of them holds, and doctor says it too.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from integration.sandbox_contract import Bench, ConfinementContract, SandboxContract, follow, package_folder
from mecapy_platform.sandbox.base import EndReason, Sandbox
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits
from support.backends.warm_alone import WarmAlone
from support.backends.warm_runs import is_warm

MACHINE = Path(__file__).parents[1] / "support" / "backends" / "degraded_machine.py"
MECAPY = Path(sys.executable).with_name("mecapy")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="mounts over the control groups and filters without giving up privileges"
)


@contextmanager
def machine_without(lack: str, folder: Path) -> Iterator[Path]:
    """The socket of a spawner that lives on that machine."""
    script = folder / f"python-{lack}"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {MACHINE} {lack} {sys.executable} "$@"\n')
    script.chmod(0o755)
    spawner = LocalSpawner.start(python=str(script))
    try:
        yield Path(spawner.address)
    finally:
        spawner.stop()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with package_folder() as made:
        yield made


@pytest.fixture(scope="module")
def machines(folder: Path) -> Iterator[Callable[[str], Path]]:
    """Each kind of machine is made once."""
    with ExitStack() as stack:

        @cache
        def machine(lack: str) -> Path:
            return stack.enter_context(machine_without(lack, folder))

        yield machine


@pytest.fixture
def sandbox(request: pytest.FixtureRequest, machines: Callable[[str], Path]) -> Sandbox:
    return BubblewrapSandbox(machines(request.param if hasattr(request, "param") else request.cls.lack))


@pytest.fixture
def bench(sandbox: Sandbox, folder: Path) -> Iterator[Bench]:
    place = Path(tempfile.mkdtemp(dir=folder))
    place.chmod(0o755)
    shutil.copytree(folder / "package", place / "package")
    yield Bench(sandbox, place, Path(sys.executable).resolve())
    shutil.rmtree(place)


class Degraded(SandboxContract, ConfinementContract):
    lack = ""

    def test_its_own_test_passes(self, sandbox: Sandbox) -> None:
        test = sandbox.self_test()
        assert test.holds, [check for check in test.checks if not check.holds]


class TestWithoutControlGroups(Degraded):
    lack = "cgroups"

    def test_memory_is_watched_and_the_end_says_how(self, bench: Bench) -> None:
        ended = bench.run("takes_memory", {"megabytes": 400}, memory_mb=128).ended
        assert ended.reason is EndReason.OUT_OF_MEMORY
        assert "memory limit of 128 MiB reached" in ended.detail
        assert "watched every 0.1 s" in ended.detail

    def test_the_memory_of_many_processes_is_added_up(self, bench: Bench) -> None:
        ended = bench.run("children_take_memory", {"children": 6, "megabytes": 40}, memory_mb=160).ended
        assert ended.reason is EndReason.OUT_OF_MEMORY

    def test_a_passed_process_limit_is_named(self, bench: Bench) -> None:
        ended = bench.run("forks_until_refused", processes=20).ended
        assert (ended.reason, ended.exit_code) == (EndReason.PROCESS_LIMIT, 1), ended
        assert ended.detail == "process limit of 20 reached (20 others were left when it failed)"

    def test_another_failure_is_not_taken_for_a_process_limit(self, bench: Bench) -> None:
        assert bench.run("forks_and_fails", {"count": 5}, processes=20).ended.reason is EndReason.EXITED


class TestWithoutLandlock(Degraded):
    lack = "landlock"


class TestWarmWithoutLandlock(Degraded):
    lack = "landlock"

    @pytest.fixture
    def sandbox(self, machines: Callable[[str], Path]) -> Iterator[WarmAlone]:
        made = WarmAlone(machines(self.lack))
        yield made
        made.inner.close()


@pytest.mark.parametrize("sandbox", ["cgroups"], indirect=True)
def test_without_control_groups_calls_go_cold(machines: Callable[[str], Path], bench: Bench) -> None:
    made = BubblewrapSandbox(machines("cgroups"), warm=WarmLimits())
    for number in range(3):
        spec = replace(bench.spec("double", {"value": number}), organization="first", is_warm=True)
        with made.start(spec) as run:
            assert not is_warm(run)
            assert follow(run).result == {"result": 2 * number}
    made.close()


STILL_HOLD = ["writable-cgroups", "cgroup-controllers", "enabled-landlock", "cgroups,landlock"]


@pytest.mark.parametrize("sandbox", STILL_HOLD, indirect=True)
def test_other_forms_of_the_same_lack_are_no_different(sandbox: Sandbox, bench: Bench) -> None:
    assert sandbox.self_test().holds
    assert bench.run("takes_memory", {"megabytes": 400}, memory_mb=128).ended.reason is EndReason.OUT_OF_MEMORY
    assert bench.run("double", {"value": 21}).result == {"result": 42}


def test_looking_for_control_groups_moves_nobody() -> None:
    """Version 2 has none of the controllers here: that must be seen before processes are moved to make room."""

    def unified() -> str:
        return next(line for line in Path("/proc/1/cgroup").read_text().splitlines() if line.startswith("0::"))

    before = unified()
    assert doctor("cgroup-controllers", "--sandbox")["ok"]
    assert unified() == before


NEEDED = [
    ("user-namespaces", "Creating new namespace failed"),
    ("seccomp", "PR_SET_SECCOMP"),
    ("user-namespaces,cgroups,landlock", "namespace"),
]


@pytest.mark.parametrize(("sandbox", "words"), NEEDED, indirect=["sandbox"])
def test_what_a_sandbox_cannot_do_without_is_refused_and_nothing_runs(
    sandbox: Sandbox, bench: Bench, words: str
) -> None:
    test = sandbox.self_test()
    assert not test.holds
    assert words in test.checks[0].detail
    outcome = bench.run("double", {"value": 21})
    assert outcome.ended.reason is EndReason.MACHINE
    assert outcome.collected.result is None
    assert outcome.text("stdout") == ""


def doctor(lack: str, *options: str) -> dict[str, object]:
    command = [sys.executable, str(MACHINE), lack, str(MECAPY), "doctor", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    report: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    return report


WORDS: list[tuple[str, bool, str, str]] = [
    ("nothing", True, "Landlock", "version"),
    ("nothing", True, "cgroups", "writable: memory and processes of a sandbox are limited as a group"),
    ("cgroups", True, "cgroups", "none: the memory of a sandbox's processes is summed every 0.1 s instead"),
    ("writable-cgroups", True, "cgroups", "v1, not writable: the memory"),
    ("cgroup-controllers", True, "cgroups", "v2 without memory, pids and cpu, not writable: the memory"),
    (
        "landlock",
        True,
        "Landlock",
        "this kernel is built without it: mounts, namespaces, users and the system call filter hold",
    ),
    ("enabled-landlock", True, "Landlock", "this kernel was started without it"),
    (
        "user-namespaces",
        False,
        "user namespaces",
        "closed by user.max_user_namespaces. Open it with sysctl, or use the docker backend.",
    ),
    ("user-namespaces", False, "sandbox bubblewrap: starts", "Creating new namespace failed"),
    ("seccomp", False, "sandbox bubblewrap: starts", "CONFIG_SECCOMP"),
]


@pytest.mark.parametrize(("lack", "is_well", "name", "words"), WORDS)
def test_doctor_says_what_is_missing_and_what_that_means(
    lack: str, is_well: bool, name: str, words: str, tmp_path: Path
) -> None:
    report = doctor(lack, "--data", str(tmp_path))
    assert report["ok"] is is_well
    checks = report["checks"]
    assert isinstance(checks, list)
    found = next(check for check in checks if check["name"] == name)
    assert words in found["detail"]
    assert found["holds"] is (lack == "nothing")
