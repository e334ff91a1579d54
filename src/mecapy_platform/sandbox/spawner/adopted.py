"""A control group for a process that the owner started itself, and hands over before it begins."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from mecapy_platform.sandbox.spawner import cgroups
from mecapy_platform.sandbox.spawner.config import GroupRequest, RequestError

ENDED = "the descriptor is of no process of the owner's that lives"


@dataclass(frozen=True)
class Handed:
    """A process by its number, which is its own for as long as the descriptor says that it lives."""

    pid: int
    descriptor: int

    def is_alive(self) -> bool:
        waiting = select.poll()
        waiting.register(self.descriptor, select.POLLIN)
        return not waiting.poll(0)

    def kill(self) -> None:
        """By the descriptor: it, or nobody."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)


@contextlib.contextmanager
def process_of(descriptors: list[int], owner_uid: int) -> Iterator[Handed]:
    """The process behind the one descriptor that came with the request; it must be the owner's own, and live."""
    try:
        if len(descriptors) != 1:
            raise RequestError("a group is asked for with one descriptor: of a process")
        with open(f"/proc/self/fdinfo/{descriptors[0]}") as file:  # noqa: PTH123 - strings throughout, see system.py
            told = dict(line.split(":", 1) for line in file.read().splitlines())
        process = Handed(int(told.get("Pid", "-1")), descriptors[0])
        if process.pid <= 0 or _uid_of(process.pid) != owner_uid or not process.is_alive():
            raise RequestError(ENDED)
        yield process
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def limit_and_join(group: cgroups.RunCgroup, request: GroupRequest, process: Handed) -> bool:
    """Whether it is limited: without control groups of our own nothing is.

    A group is joined by number. Should the process have ended meanwhile, that may be another's by now, which is sent
    back out of the group. One that could not join all of its groups is killed: it was to begin with limits.
    """
    if group.version == 0:
        return False
    try:
        group.limit(memory_bytes=request.memory_mb << 20, processes=request.processes, cpu=request.cpu)
        group.watch_oom()
        group.join(process.pid)
    except OSError:
        process.kill()
        raise
    finally:
        if not process.is_alive():
            group.send_back(process.pid)
    if not process.is_alive():
        raise RequestError(ENDED)
    return True


def wait_for_end(connection: socket.socket, wake: int, stopping: list[bool]) -> None:
    """Until the owner says that it is done with it, is gone, or we are told to stop."""
    connection.setblocking(False)
    waiting = select.poll()
    for descriptor in (connection.fileno(), wake):
        waiting.register(descriptor, select.POLLIN)
    while not stopping:
        ready = [descriptor for descriptor, _ in waiting.poll()]
        if connection.fileno() in ready:
            break
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
    connection.settimeout(10)


def describe_use(group: cgroups.RunCgroup) -> dict[str, object]:
    kills = group.memory_kills()
    return {
        "oom_kills": kills.own,
        "machine_kills": kills.others,
        "processes_refused": group.pids_refused(),
        "peak_bytes": group.peak_bytes() or 0,
    }


def _uid_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - as above
            return next(int(line.split()[1]) for line in file if line.startswith("Uid:"))
    except OSError:
        return -1
