"""Keeps one warm sandbox: its zygote, a control group for each slot, the packages it may show.

Told what to do by the worker's pool.

Commands, one line of JSON each, answered by one line: `slot` (limits; the answer carries the slot's socket), `limit`,
`drop`, `why`, `package`.
"""

import contextlib
import json
import os
import selectors
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from mecapy_platform.sandbox.spawner import cgroups, command, workspace
from mecapy_platform.sandbox.spawner.bwrap_child import BwrapChild, Order
from mecapy_platform.sandbox.spawner.config import (
    RequestError,
    RunLimits,
    SpawnerConfig,
    WarmRequest,
    checked_path,
    parse_limits,
)
from mecapy_platform.sandbox.syscalls import bpf

HELLO_SECONDS = 20.0
LOOK_SECONDS = 0.02  # after the kernel has rung, until it has killed or nothing comes of it
ZYGOTE_PROCESSES = 64
OWN_PROCESSES = 2  # of a slot: the stem, the first process of a call's namespace
OPEN_FILES = 65536
STEM_OOM_SCORE = "-500"
CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Parts:
    """What the supervisor prepared ahead: the stem that becomes bwrap, in its group, and the private mounts."""

    config: SpawnerConfig
    base: cgroups.CgroupBase
    name: str
    uid: int | None
    group: cgroups.RunCgroup
    stem: BwrapChild
    place: workspace.Workspace
    etc: str
    wake: int


@dataclass
class Slot:
    """A stem in a control group of its own. What was counted when its last call began tells what that call did."""

    group: cgroups.RunCgroup
    oom: int | None
    was_killed: bool = False
    seen: dict[str, int] = field(default_factory=dict)


class Keeper:
    """One warm sandbox, from its start until the pool closes the connection."""

    def __init__(self, parts: Parts, request: WarmRequest) -> None:
        self._parts = parts
        self._request = request
        self._slots: dict[int, Slot] = {}
        self._count = 0
        self._packages: dict[str, int] = {}
        self._control: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._commands = {
            "slot": self._slot,
            "limit": self._limit,
            "drop": self._drop,
            "why": self._why,
            "package": self._package,
        }

    def start(self, connection: socket.socket) -> None:
        """Start the zygote and tell the pool what it is like.

        Raises
        ------
        RequestError
            This machine cannot keep one: without control groups the slots of a sandbox could not be told apart.
        """
        parts, request = self._parts, self._request
        if parts.base.version == 0:
            raise RequestError("no warm sandbox without control groups: its calls could not be limited one by one")
        parts.group.limit(memory_bytes=request.memory_mb << 20, processes=ZYGOTE_PROCESSES, cpu=os.cpu_count() or 1)
        reach, reach_program = (parts.place.reach, parts.place.reach_program) if parts.uid is not None else (str, str)
        places = command.Places(reach_program(parts.config.bwrap), parts.place.make_packages(), parts.etc)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open("/dev/null", os.O_WRONLY)
        filter_fd = bpf.filter_descriptor(bpf.ZYGOTE_PROGRAM)
        argv = command.zygote_command(request, places, reach)
        order = Order(argv, parts.uid, processes=1 << 16, open_files=OPEN_FILES, file_bytes=1 << 50)
        parts.stem.start(order, [null, os.dup(2), theirs.fileno(), theirs.fileno(), filter_fd])
        theirs.close()
        os.close(null)
        os.close(filter_fd)
        ours.settimeout(HELLO_SECONDS)
        try:
            hello = json.loads(ours.recv(65536) or b"null")
        except (TimeoutError, ValueError):
            hello = None
        if not isinstance(hello, dict):
            raise RequestError("the warm sandbox did not start; its messages are in the spawner's log")
        self._control = ours
        _send(connection, {"started": {**hello, "keeper": os.getpid(), "bwrap": parts.stem.pid}})

    def serve(self, connection: socket.socket, stopping: list[bool]) -> None:
        """Obey until the pool is gone, the zygote is, or we are told to stop."""
        connection.settimeout(None)
        self._selector.register(connection, selectors.EVENT_READ)
        self._selector.register(self._parts.wake, selectors.EVENT_READ)
        rest = b""
        while not stopping:
            is_told = any(slot.group.was_told_lately() for slot in self._slots.values())
            ready = {key.fd for key, _mask in self._selector.select(LOOK_SECONDS if is_told else None)}
            if self._parts.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._parts.wake, 4096)
                if _is_gone(self._parts.stem.pid):
                    return
            self._kill_the_full(ready)
            if connection.fileno() in ready:
                try:
                    piece = connection.recv(65536)
                except OSError:
                    return
                if not piece:
                    return
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._answer(connection, line)

    def remove(self) -> None:
        """Everything is dead: take the groups away."""
        for slot in self._slots.values():
            slot.group.remove()

    def _answer(self, connection: socket.socket, line: bytes) -> None:
        try:
            message: dict[str, Any] = json.loads(line)
            name, value = next(iter(message.items()))
            answer, descriptors = self._commands[name](value)
        except (RequestError, OSError, ValueError, KeyError, TypeError) as error:
            _send(connection, {"error": str(error) or type(error).__name__})
            return
        socket.send_fds(
            connection, [json.dumps(answer).encode() + b"\n"], [descriptor.fileno() for descriptor in descriptors]
        )
        for descriptor in descriptors:
            descriptor.close()

    def _slot(self, values: Any) -> tuple[dict[str, object], list[socket.socket]]:
        limits = parse_limits(values)
        assert self._control is not None
        self._count += 1
        group = cgroups.RunCgroup(self._parts.base, f"{self._parts.name}-slot-{self._count}")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            ours.settimeout(HELLO_SECONDS)
            socket.send_fds(self._control, [b"slot"], [theirs.fileno()])
            theirs.close()
            _apply(group, limits)
            pid = _pid_of(ours)
            group.join(pid)
            _spare_from_oom(pid)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
            ours.send(b"go")
        except (OSError, RequestError):
            group.kill()
            group.remove()
            raise
        slot = Slot(group, group.watch_oom())
        self._slots[self._count] = slot
        if slot.oom is not None:
            self._selector.register(slot.oom, selectors.EVENT_READ)
        return {"slot": self._count, "pid": pid}, [ours]

    def _limit(self, values: Any) -> tuple[dict[str, object], list[socket.socket]]:
        _apply(self._slots[values["slot"]].group, parse_limits(values["limits"]))
        return {"limited": values["slot"]}, []

    def _drop(self, number: Any) -> tuple[dict[str, object], list[socket.socket]]:
        """Kill a slot and everything in it; the answer comes when it is dead."""
        slot = self._slots.pop(number)
        answer = self._said(slot)
        slot.group.kill()
        if slot.oom is not None:
            self._selector.unregister(slot.oom)
            slot.group.forget_oom()
        slot.group.remove()
        return answer, []

    def _why(self, number: Any) -> tuple[dict[str, object], list[socket.socket]]:
        return self._said(self._slots[number]), []

    def _package(self, path: Any) -> tuple[dict[str, object], list[socket.socket]]:
        real = checked_path(path, self._parts.config.roots)
        if real not in self._packages:
            number = len(self._packages) + 1
            self._parts.place.show_package(real, number)
            self._packages[real] = number
        return {"package": self._packages[real]}, []

    def _said(self, slot: Slot) -> dict[str, object]:
        """What the limits of a slot did since this was asked last."""
        group = slot.group
        kills = group.memory_kills()
        now = {"oom_kills": kills.own, "machine_kills": kills.others, "pids_refused": group.pids_refused()}
        new: dict[str, object] = {name: count - slot.seen.get(name, 0) for name, count in now.items()}
        slot.seen = now
        return {**new, "was_killed": slot.was_killed, "peak_bytes": group.peak_bytes() or 0}

    def _kill_the_full(self, ready: set[int]) -> None:
        """A slot that ran out of memory dies whole: what is left of it could be in any state."""
        for slot in self._slots.values():
            if slot.oom in ready:
                slot.group.hear_oom()
            if slot.group.was_told_lately() and not slot.was_killed and slot.group.memory_kills().own > 0:
                slot.was_killed = True
                slot.group.kill()


def _apply(group: cgroups.RunCgroup, limits: RunLimits) -> None:
    group.limit(
        memory_bytes=limits.memory_mb << 20,
        processes=limits.processes + OWN_PROCESSES,
        cpu=limits.cpu,
        cpu_weight=limits.cpu_weight,
    )


def _pid_of(stem: socket.socket) -> int:
    """The pid of the stem as we see it: the kernel writes it beside the stem's first message."""
    _said, ancillary, _flags, _address = stem.recvmsg(64, socket.CMSG_SPACE(CREDENTIALS.size))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(CREDENTIALS.unpack(data[: CREDENTIALS.size])[0])
    raise RequestError("a slot of the warm sandbox did not start")


def _spare_from_oom(pid: int) -> None:
    """The kernel shall take the call's processes, not the one that follows them.

    An ordinary user may not ask for that.
    """
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as file:  # noqa: PTH123 - strings throughout, see system.py
        file.write(STEM_OOM_SCORE)


def _is_gone(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] != 0


def _send(connection: socket.socket, message: dict[str, object]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")
