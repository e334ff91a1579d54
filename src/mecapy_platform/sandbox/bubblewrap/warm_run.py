"""One call in a warm slot, followed from the worker's side."""

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import Collected, Ended, EndReason, SandboxSpec
from mecapy_platform.sandbox.bubblewrap.run import BubblewrapRun
from mecapy_platform.sandbox.bubblewrap.zygote import FILES_BYTES, FILES_MAX, MESSAGE_BYTES, ORDER_BYTES, Function, Slot

TOLD_RESULT_BYTES = 16_384  # a result up to this comes beside the end of its call


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
        self._ends = ends
        self._slot = slot
        self._orders = ends.orders
        self._give_back = give_back
        self._slot_is_lost = False
        self._was_ahead = slot.ahead is not None
        self._is_kept = False  # its worker waits for another call
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
        may_keep = slot.ahead is not None and function.is_reused and limits.result_bytes >= TOLD_RESULT_BYTES
        times = (limits.timeout_seconds, limits.grace_seconds)
        self._connection.send(b"run %d %f %f %d" % (slot.serial, *times, may_keep))

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
        if is_clean and self._is_kept:
            self._slot.keep(self._ends)
        else:
            self._ends.close()
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
        self._is_kept = told.get("kept", False)
        if told["is_all"]:
            self._left = rest
        self._ended = self._explained(told["ended"])

    def _explained(self, said: dict[str, Any]) -> Ended:
        """A run that failed may have met a limit: ask which."""
        if EndReason(said["reason"]) is EndReason.EXITED and said["exit_code"] != 0 and not self._log_is_over:
            said |= self._limit_met()
        return self._read_end(said)

    def _limit_met(self) -> dict[str, Any]:
        """The memory, the disk or the processes, where one of them ran out; or a fault of ours."""
        if not self._was_ahead and (fault := self._fault()):
            self._slot_is_lost = True
            return {"reason": EndReason.MACHINE, "detail": fault}
        said, seen = self._slot.zygote.why(self._slot), os.fstatvfs(self._top)
        if said["oom_kills"]:
            return self._out_of_memory(said)
        if seen.f_bavail * seen.f_frsize < 1 << 16:
            return {"reason": EndReason.DISK_LIMIT, "over": "bytes"}
        if seen.f_favail == 0:
            return {"reason": EndReason.DISK_LIMIT, "over": "files"}
        if said["pids_refused"]:
            return {"reason": EndReason.PROCESS_LIMIT, "refused": said["pids_refused"]}
        return {}

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
            return self._read_end({"wall_seconds": usage.wall_seconds, **self._out_of_memory(said)})
        return Ended(EndReason.MACHINE, None, None, usage, self._stop_reason, endings.SLOT_DIED)

    def _out_of_memory(self, said: Mapping[str, Any]) -> dict[str, Any]:
        self._slot_is_lost = True
        peak = said["peak_bytes"]
        return {"reason": EndReason.OUT_OF_MEMORY, "exit_code": None, "signal": None, "peak_bytes": peak}
