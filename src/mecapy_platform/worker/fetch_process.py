"""Runs the confined fetch within its limits: time, bytes, a control group, our system call filter; never as root."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError, InvalidInputError, UnavailableError
from mecapy_platform.sandbox.spawned_group import GroupLimits, GroupUse, SpawnedGroup
from mecapy_platform.sandbox.syscalls import bpf

LOOK_SECONDS = 1.0
KEPT_OUTPUT = 20_000
MIB = 1 << 20
GROUP = GroupLimits(memory_mb=2048, processes=512, cpu=2)
# What we start first: it waits for the word that it is where its limits are, and becomes the fetch
WAIT = """
import os, sys
if os.read(0, 1) == b"+":
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class FetchLimits:
    """`environment_bytes`: of what is installed, and of what one fetch adds to the cache."""

    seconds: float
    environment_bytes: int
    spawner: Path | None = None  # makes the fetch's control group; None: nobody does, and `group` is no limit
    group: GroupLimits = GROUP
    may_be_root: bool = False  # in tests alone: nothing stands between the fetch and a host that it leaves


@dataclass(frozen=True)
class Fetched:
    """How it ended, and the last of what it said."""

    exit_code: int
    said: str


def fetch(compose: Callable[[int], Sequence[str]], folders: Sequence[Path], limits: FetchLimits) -> Fetched:
    """Run what `compose` gives for the descriptor of our filter; `folders` are those that it writes to.

    Raises
    ------
    ConfigurationError
        The worker is root, and with it the fetch would be.
    UnavailableError
        It took longer than it may, or was killed by nothing of its own, as when the spawner goes away.
    InvalidInputError
        The requirements are larger than an environment may be, or need more memory than a fetch may use.
    """
    if os.geteuid() == 0 and not limits.may_be_root:
        raise ConfigurationError(
            "fetch_as_root",
            "Requirements are never fetched as root. Start the worker as an ordinary user, as `mecapy up` does.",
        )
    before = sum(map(bytes_below, folders))
    filter_fd = bpf.filter_descriptor(bpf.PROGRAM)
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", WAIT, *compose(filter_fd)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={},
                pass_fds=(filter_fd,),
            )
        finally:
            os.close(filter_fd)
        group = None
        with process:
            try:
                if limits.spawner is not None:
                    group = SpawnedGroup.around(limits.spawner, process.pid, limits.group)
                _begin(process)
                _watch(process, lambda: sum(map(bytes_below, folders)) - before, limits)
            finally:
                used = GroupUse() if group is None else group.end()
                process.kill()  # one that has ended is not there any more
        if process.returncode != 0 and _is_killed_from_outside(process.returncode, used):
            raise UnavailableError("fetch_killed", "The fetch of the requirements was ended from outside.")
        if used is not None and used.oom_kills:
            raise InvalidInputError(
                "environment_too_large",
                f"Fetching the requirements took more than {limits.group.memory_mb} MiB of memory. Ask for fewer or "
                "smaller packages.",
            )
        said.seek(max(0, said.tell() - KEPT_OUTPUT))
        return Fetched(process.returncode, said.read().decode("utf-8", "replace").strip())


def _is_killed_from_outside(exit_code: int, used: GroupUse | None) -> bool:
    """The spawner has gone, the machine ran out of memory, or somebody killed it: not its own limit."""
    return used is None or (not used.oom_kills and (was_killed(exit_code) or used.machine_kills > 0))


def was_killed(exit_code: int) -> bool:
    """By SIGKILL, as told of a child of ours or by the program that stood between."""
    return exit_code in {-signal.SIGKILL, 128 + signal.SIGKILL}


def _begin(process: "subprocess.Popen[bytes]") -> None:
    """Whatever it waited for is done: it becomes the fetch."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as told:
        told.write(b"+")


def _watch(process: "subprocess.Popen[bytes]", grown: Callable[[], int], limits: FetchLimits) -> None:
    deadline = time.monotonic() + limits.seconds
    is_over = False
    while not is_over:
        left = deadline - time.monotonic()
        if left <= 0:
            raise UnavailableError(
                "build_timeout", f"Fetching the requirements took more than {limits.seconds:g} s."
            ) from None
        try:
            process.wait(min(left, LOOK_SECONDS))
            is_over = True
        except subprocess.TimeoutExpired:
            is_over = False
        if grown() > limits.environment_bytes:
            raise InvalidInputError(
                "environment_too_large",
                f"The requirements take more than {limits.environment_bytes // MIB} MiB. Ask for fewer or smaller "
                "packages, or let the operator raise MECAPY_ENVIRONMENT_BYTES.",
            )


def bytes_below(folder: Path) -> int:
    """What the files below a folder take on the disk; those that vanish meanwhile take nothing."""
    taken = 0
    pending = [str(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        taken += entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            continue
    return taken
