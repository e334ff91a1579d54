"""A process that its owner hands to the spawner: it alone joins the group, and nothing of the group stays."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.sandbox.spawned_group import GroupLimits, SpawnedGroup
from mecapy_platform.sandbox.spawner import adopted, cgroups
from mecapy_platform.sandbox.spawner.adopted import Handed
from mecapy_platform.sandbox.spawner.config import GroupRequest, RequestError
from support.platform.embedded_process import wait_for

NAME = f"handed-over-{os.getpid()}"
LIMITS = GroupLimits(64, 10, 1)


@pytest.fixture
def group() -> Iterator[cgroups.RunCgroup]:
    base = cgroups.find_base(f"mecapy-{NAME}-alone")
    if base.version == 0:
        pytest.skip("this machine gives us no control groups")
    made = cgroups.RunCgroup(base, "run-1")
    yield made
    made.kill()
    made.remove()
    for folder in base.folders.values():
        Path(folder).rmdir()


@contextmanager
def sleeping() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


def members(group: cgroups.RunCgroup) -> set[str]:
    return {pid for folder in group.folders.values() for pid in Path(folder, "cgroup.procs").read_text().split()}


def test_who_has_got_the_number_of_a_process_that_ended_does_not_stay_in_the_group(group: cgroups.RunCgroup) -> None:
    """As when it ended, and its number was given out again, after the descriptor was looked at."""
    with sleeping() as ended, sleeping() as stranger:
        descriptor = os.pidfd_open(ended.pid)
        ended.kill()
        ended.wait(30)
        with pytest.raises(RequestError, match="no process of the owner's that lives"):
            adopted.limit_and_join(group, GroupRequest(64, 10, 1), Handed(stranger.pid, descriptor))
        os.close(descriptor)
        assert members(group) == set()
        group.kill()
        assert stranger.poll() is None


def test_a_process_is_known_by_its_descriptor_until_it_has_joined(group: cgroups.RunCgroup) -> None:
    with sleeping() as process:
        descriptor = os.pidfd_open(process.pid)
        with adopted.process_of([descriptor], os.geteuid()) as handed:
            assert adopted.limit_and_join(group, GroupRequest(64, 10, 1), handed)
            assert members(group) == {str(process.pid)}
            assert os.fstat(descriptor)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(descriptor)


def test_a_process_that_has_ended_is_refused() -> None:
    with sleeping() as process:
        descriptor = os.pidfd_open(process.pid)
        process.kill()
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
        with (
            pytest.raises(RequestError, match="no process of the owner's that lives"),
            adopted.process_of([descriptor], os.geteuid()),
        ):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may take a group away")
def test_a_join_that_fails_midway_leaves_neither_the_process_nor_a_group() -> None:
    """Of its four groups the last two are not there any more when the process is to join them."""
    base = cgroups.find_base(f"mecapy-{NAME}")
    if base.version != 1:
        pytest.skip("a process joins several groups in version 1 alone")
    spawner = LocalSpawner.start(name=NAME)
    try:
        wait_for(lambda: waiting(base.folders["cpu"]), "a supervisor waits")
        before = waiting(base.folders["memory"])
        for folder in waiting(base.folders["cpu"]):
            for pid in (folder / "cgroup.procs").read_text().split():
                (folder.parent / "cgroup.procs").write_text(pid)
            folder.rmdir()
        with sleeping() as process:
            with pytest.raises(UnavailableError):
                SpawnedGroup.around(Path(spawner.address), process.pid, LIMITS)
            assert process.wait(30) == -signal.SIGKILL, "it was to begin with limits"
        wait_for(lambda: len(before - waiting(base.folders["memory"])) == 1, "the group of the join is gone")
        assert all(len((folder / "cgroup.procs").read_text().split()) <= 1 for folder in before if folder.exists())
    finally:
        spawner.stop()


def waiting(folder: str) -> set[Path]:
    return {path for path in Path(folder).glob("run-*") if path.is_dir()}
