"""The worker's side of warm sandboxes: a zygote with its slots, and a run in one of them.

What goes where is decided in warm_pool.

The zygote is ours and has nothing of a tenant; each call has a worker of its own, made ahead, used once. See
docs/decisions/0008.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox.base import Limits
from mecapy_platform.sandbox.limits import thread_environment
from mecapy_platform.sandbox.output_streams import Streams
from mecapy_platform.sandbox.root.folders import call_environment
from mecapy_platform.sandbox.spawner.config import limits_to_ask

READY = b"ready"
MESSAGE_BYTES = 65536
ORDER_BYTES = 100_000  # of inputs; more goes cold
FILES_BYTES = 4 << 20  # of input files, copied into the call's memory; more goes cold
FILES_MAX = 50
ANSWER_SECONDS = 30.0
SLOT_LIMITS = ("cpu", "memory_mb", "processes", "cpu_weight")  # those that its control group holds


@dataclass(frozen=True)
class Key:
    """Who may share a zygote: calls of one organization in one environment."""

    organization: str
    interpreter: str
    site_packages: str | None
    tools: tuple[str, ...]
    vetted: str | None = None
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function:
    """What a worker can be prepared for before its call."""

    package: str
    handler: str
    limits: Limits
    required_files: tuple[str, ...]
    optional_files: tuple[str, ...]
    version: str = ""  # calls that follow each other in one process are of one version
    reuse: int = 0  # so many calls in one process; below 2: one

    @property
    def is_reused(self) -> bool:
        return self.reuse > 1


@dataclass(frozen=True)
class Ends:
    """What a stem hands over with each worker it has made."""

    orders: socket.socket
    streams: Streams
    top: int

    def close(self) -> None:
        self.orders.close()
        for descriptor in (self.streams.stdout, self.streams.stderr, self.top):
            os.close(descriptor)


@dataclass
class Slot:
    """A stem's channel and the worker that waits in it."""

    zygote: "Zygote"
    number: int
    pid: int  # of its stem
    channel: socket.socket
    limits: Limits
    serial: int = 0
    calls: int = 0
    ends: Ends | None = None
    ahead: Function | None = None  # the worker has loaded this function already
    ahead_at: float = 0.0
    last: Function | None = None

    def worker(self) -> Ends:
        """The worker that waits, with its ends; made by the stem by now, nearly always."""
        if self.ends is None:
            self.channel.settimeout(ANSWER_SECONDS)
            said, descriptors, _flags, _address = socket.recv_fds(self.channel, MESSAGE_BYTES, 4)
            if said != READY or len(descriptors) != 4:
                for descriptor in descriptors:
                    os.close(descriptor)
                raise SandboxError("warm_slot_lost", "A warm slot did not make its next worker.")
            orders, out, err, top = descriptors
            for stream in (out, err):
                os.set_blocking(stream, False)
            self.serial += 1
            self.ends = Ends(socket.socket(fileno=orders), Streams(out, err), top)
        return self.ends

    def waits_for(self, function: Function) -> bool:
        """Whether a worker is here that has loaded this function."""
        return self.ends is not None and self.ahead == function and self.limits == function.limits

    def renew(self) -> None:
        """Throw the waiting worker away; the stem makes another one, for no function in particular."""
        self.worker().close()
        self.ends, self.ahead = None, None
        self.channel.send(b"kill %d" % self.serial)
        self.channel.recv(MESSAGE_BYTES)  # how it ended
        self.worker()

    def prepare(self, function: Function) -> None:
        """Let the waiting worker load a function ahead of its call."""
        self.worker().orders.send(json.dumps(self.zygote.order(function)).encode())
        self.ahead, self.ahead_at = function, time.monotonic()

    def keep(self, ends: Ends) -> None:
        """The worker of the call that is over serves the next one too."""
        self.channel.settimeout(ANSWER_SECONDS)
        self.ends = ends
        self.serial += 1
        self.ahead_at = time.monotonic()

    def close(self) -> None:
        if self.ends is not None:
            self.ends.close()
            self.ends = None
        self.channel.close()


@dataclass
class Zygote:
    """One warm sandbox behind its keeper's connection.

    Commands follow each other; closing the connection ends all of it.
    """

    key: Key
    connection: socket.socket
    facts: Mapping[str, Any]
    free: list[Slot] = field(default_factory=list)
    busy: int = 0
    calls: int = 0
    used_at: float = field(default_factory=time.monotonic)
    is_closed: bool = False
    is_retired: bool = False  # takes no more calls, and is closed after its last
    packages: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def slots(self) -> int:
        return self.busy + len(self.free)

    def open_slot(self, limits: Limits) -> Slot:
        answer, descriptors = self._ask("slot", limits_to_ask(limits))
        if len(descriptors) != 1:
            raise SandboxError("warm_slot_lost", "A warm slot came without its channel.")
        channel = socket.socket(fileno=descriptors[0])
        channel.settimeout(ANSWER_SECONDS)
        return Slot(self, int(answer["slot"]), int(answer["pid"]), channel, limits)

    def limit(self, slot: Slot, limits: Limits) -> None:
        if any(getattr(slot.limits, name) != getattr(limits, name) for name in SLOT_LIMITS):
            self._ask("limit", {"slot": slot.number, "limits": limits_to_ask(limits)})
        slot.limits = limits

    def drop(self, slot: Slot) -> Mapping[str, Any]:
        """Kill a slot with all that runs in it; what its limits did meanwhile."""
        slot.close()
        return self._ask("drop", slot.number)[0]

    def why(self, slot: Slot) -> Mapping[str, Any]:
        return self._ask("why", slot.number)[0]

    def show(self, package: str) -> str:
        """The path under which a package can be found inside."""
        if package not in self.packages:
            self.packages[package] = f"/packages/{self._ask('package', package)[0]['package']}"
        return self.packages[package]

    def order(self, function: Function) -> dict[str, Any]:
        """What a worker is told, but for the inputs; see guest/call.py."""
        return {
            **({"reuse": function.reuse} if function.is_reused else {}),
            "mode": "python",
            "handler": function.handler,
            "site": self.key.site_packages is not None,
            "files": {"required": list(function.required_files), "optional": list(function.optional_files)},
            "environment": call_environment(self.key.interpreter, self.key.tools, thread_environment(function.limits)),
            "package": self.show(function.package),
            "limits": {name: getattr(function.limits, name) for name in ("open_files", "disk_bytes", "disk_files")},
        }

    def close(self) -> None:
        """Its keeper kills everything once the connection is closed."""
        if self.is_closed:
            return
        self.is_closed = True
        for slot in self.free:
            slot.close()
        self.free.clear()
        self.connection.close()

    def _ask(self, name: str, value: object) -> tuple[Mapping[str, Any], list[int]]:
        with self._lock:
            try:
                self.connection.sendall(json.dumps({name: value}).encode() + b"\n")
                raw, descriptors, _flags, _address = socket.recv_fds(self.connection, MESSAGE_BYTES, 2)
                while raw and not raw.endswith(b"\n"):
                    raw += self.connection.recv(MESSAGE_BYTES)
                answer = json.loads(raw or b'{"error": "it ended"}')
            except (OSError, ValueError) as error:
                raise SandboxError("warm_sandbox_lost", f"A warm sandbox was lost: {error}.") from error
        if "error" in answer:
            raise SandboxError("warm_sandbox_lost", f"A warm sandbox refused: {answer['error']}.")
        return answer, descriptors
