"""A control group for a process that the owner started itself, and hands over before it begins."""

import contextlib
import os
import select
import socket

from mecapy_platform.sandbox.spawner import cgroups
from mecapy_platform.sandbox.spawner.config import GroupRequest, RequestError


def process_of(descriptors: list[int], owner_uid: int) -> int:
    """The process behind the one descriptor that came with the request; it must be the owner's own, and live."""
    try:
        if len(descriptors) != 1:
            raise RequestError("a group is asked for with one descriptor: of a process")
        with open(f"/proc/self/fdinfo/{descriptors[0]}") as file:  # noqa: PTH123 - strings throughout, see system.py
            told = dict(line.split(":", 1) for line in file.read().splitlines())
        pid = int(told.get("Pid", "-1"))
        if pid <= 0 or _uid_of(pid) != owner_uid:
            raise RequestError("the descriptor is of no process of the owner's that lives")
        return pid
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def limit_and_join(group: cgroups.RunCgroup, request: GroupRequest, pid: int) -> bool:
    """Whether it is limited: without control groups of our own nothing is."""
    if group.version == 0:
        return False
    group.limit(memory_bytes=request.memory_mb << 20, processes=request.processes, cpu=request.cpu)
    group.join(pid)
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
    return {
        "oom_kills": group.oom_kills(),
        "processes_refused": group.pids_refused(),
        "peak_bytes": group.peak_bytes() or 0,
    }


def _uid_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - as above
            return next(int(line.split()[1]) for line in file if line.startswith("Uid:"))
    except OSError:
        return -1
