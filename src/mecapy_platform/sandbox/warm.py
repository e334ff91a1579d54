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
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox.base import Collected, Ended, EndReason, Limits, SandboxSpec
from mecapy_platform.sandbox.limits import thread_environment
from mecapy_platform.sandbox.run import BubblewrapRun, Streams
from mecapy_platform.sandbox.spawner.command import call_environment

READY = b"ready"
MESSAGE_BYTES = 65536
ORDER_BYTES = 100_000  # of inputs; more goes cold
FILES_BYTES = 4 << 20  # of input files, copied into the call's memory; more goes cold
FILES_MAX = 50
ANSWER_SECONDS = 30.0
SPAWNER_LIMITS = (
    "cpu",
    "memory_mb",
    "timeout_seconds",
    "grace_seconds",
    "disk_bytes",
    "disk_files",
    "processes",
    "open_files",
)
SLOT_LIMITS = ("cpu", "memory_mb", "processes")  # those that its control group holds


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
        answer, descriptors = self._ask("slot", _spawner_limits(limits))
        if len(descriptors) != 1:
            raise SandboxError("warm_slot_lost", "A warm slot came without its channel.")
        channel = socket.socket(fileno=descriptors[0])
        channel.settimeout(ANSWER_SECONDS)
        return Slot(self, int(answer["slot"]), int(answer["pid"]), channel, limits)

    def limit(self, slot: Slot, limits: Limits) -> None:
        if any(getattr(slot.limits, name) != getattr(limits, name) for name in SLOT_LIMITS):
            self._ask("limit", {"slot": slot.number, "limits": _spawner_limits(limits)})
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


@dataclass(frozen=True)
class WarmInputs:
    """The text of in/data.json and the input files of a call that can be warm."""

    text: str
    files: tuple[Path, ...] = ()


def inputs_of(spec: SandboxSpec) -> WarmInputs | None:
    """The inputs, or None when they are too large to be handed over."""
    if spec.inputs_text is not None:
        return WarmInputs(spec.inputs_text) if len(spec.inputs_text) <= ORDER_BYTES else None
    text = (spec.inputs / "data.json").read_text("utf-8")
    folder = spec.inputs / "files"
    files = tuple(sorted(folder.iterdir())) if folder.is_dir() else ()
    if len(text) > ORDER_BYTES or len(files) > FILES_MAX or sum(file.stat().st_size for file in files) > FILES_BYTES:
        return None
    return WarmInputs(text, files)


class WarmRun(BubblewrapRun):
    """A call in a slot. `give_back` gets the slot when it is over, and whether it may be used again."""

    def __init__(self, slot: Slot, spec: SandboxSpec, give_back: Callable[[Slot, bool], None]) -> None:
        ends = slot.worker()
        slot.ends = None
        super().__init__(slot.channel, ends.streams, spec, ends.top, b"")
        self._slot = slot
        self._orders = ends.orders
        self._give_back = give_back
        self._slot_is_lost = False
        self._was_ahead = slot.ahead is not None
        self._left: bytes | None = None  # the result, where the stem saw that nothing else was left

    def collect(self) -> Collected:
        if self._left is None or len(self._left) > self._spec.limits.result_bytes:
            return super().collect()
        return Collected(self._left, None)

    def begin(self, function: Function, inputs: WarmInputs) -> None:
        """Send the call, then its time limit; the worker and the stem act at once, side by side."""
        slot, limits = self._slot, self._spec.limits
        if slot.ahead is not None:
            self._orders.send(inputs.text.encode())
        else:
            order = {
                **slot.zygote.order(function),
                "inputs": inputs.text,
                "names": [file.name for file in inputs.files],
            }
            descriptors = [os.open(file, os.O_RDONLY | os.O_CLOEXEC) for file in inputs.files]
            try:
                socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
        self._connection.send(b"run %d %f %f" % (slot.serial, limits.timeout_seconds, limits.grace_seconds))

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        is_clean = (
            self._ended is not None
            and self._ended.exit_code is not None
            and self._ended.stop is None
            and not self._slot_is_lost
        )
        self._orders.close()
        for fd in (*self._streams, self._top):
            os.close(fd)
        self._give_back(self._slot, is_clean)

    def _has_progress(self) -> bool:
        return self._left is None

    def _tell(self, word: bytes) -> None:
        with suppress(OSError):
            self._connection.send(b"%b %d" % (word.strip(), self._slot.serial))

    def _hear(self) -> None:
        try:
            said = self._connection.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._ended = self._lost()
            return
        head, _, rest = said.partition(b"\n")
        told = json.loads(head)
        if told["is_all"]:
            self._left = rest
        self._ended = self._explained(self._read_end(told["ended"]))

    def _explained(self, ended: Ended) -> Ended:
        """A run that failed may have met a limit: ask which."""
        if ended.reason is not EndReason.EXITED or ended.exit_code == 0:
            return ended
        if not self._was_ahead and (fault := self._fault()):
            self._slot_is_lost = True
            return _changed(ended, EndReason.MACHINE, fault)
        said = self._slot.zygote.why(self._slot)
        return self._out_of_memory(ended.usage, said) if said["oom_kills"] else self._with_limit(ended, said)

    def _with_limit(self, ended: Ended, said: Mapping[str, Any]) -> Ended:
        """The disk or the processes, where one of them ran out."""
        seen, limits = os.fstatvfs(self._top), self._spec.limits
        if seen.f_bavail * seen.f_frsize < 1 << 16:
            return _changed(ended, EndReason.DISK_LIMIT, f"disk limit of {limits.disk_bytes >> 20} MiB reached")
        if seen.f_favail == 0:
            return _changed(ended, EndReason.DISK_LIMIT, f"disk limit of {limits.disk_files} files reached")
        if said["pids_refused"]:
            detail = f"process limit of {limits.processes} reached ({said['pids_refused']} more were refused)"
            return _changed(ended, EndReason.PROCESS_LIMIT, detail)
        return ended

    def _fault(self) -> str:
        """What our own code in the worker could not do, told before any of the tenant's ran.

        The channel was closed before that.
        """
        self._orders.setblocking(False)
        with suppress(OSError):
            return self._orders.recv(MESSAGE_BYTES).decode("utf-8", "replace")
        return ""

    def _lost(self) -> Ended:
        """The stem is gone: killed with its whole group when memory ended, or for a reason nobody knows."""
        self._slot_is_lost = True
        usage = Usage(time.monotonic() - self._started_at, None, None)
        try:
            said = self._slot.zygote.why(self._slot)
        except SandboxError as error:
            return Ended(EndReason.MACHINE, None, None, usage, self._stop_reason, error.message)
        if said["oom_kills"] or said["was_killed"]:
            return self._out_of_memory(usage, said)
        return Ended(
            EndReason.MACHINE,
            None,
            None,
            usage,
            self._stop_reason,
            "the warm slot of this run died, and the run with it",
        )

    def _out_of_memory(self, usage: Usage, said: Mapping[str, Any]) -> Ended:
        self._slot_is_lost = True
        used_mb = said["peak_bytes"] / (1 << 20)
        detail = f"memory limit of {self._spec.limits.memory_mb} MiB reached ({used_mb:.0f} MiB used, files in out, scratch and /tmp included)"
        peak = Usage(usage.wall_seconds, usage.cpu_seconds, used_mb)
        return Ended(EndReason.OUT_OF_MEMORY, None, None, peak, self._stop_reason, detail)


def _changed(ended: Ended, reason: EndReason, detail: str) -> Ended:
    return Ended(reason, ended.exit_code, ended.signal, ended.usage, ended.stop, detail)


def _spawner_limits(limits: Limits) -> Mapping[str, float]:
    return {name: getattr(limits, name) for name in SPAWNER_LIMITS}
