"""The channel of one call in a warm slot."""

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
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import Ended, EndReason, Limits, SandboxSpec
from mecapy_platform.sandbox.bubblewrap.channel import RunEnd, Word, machine_fault
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
    data = spec.inputs / "data.json"
    if data.stat().st_size > ORDER_BYTES:
        return None
    text = data.read_text("utf-8")
    folder = spec.inputs / "files"
    files = tuple(sorted(folder.iterdir())) if folder.is_dir() else ()
    if len(files) > FILES_MAX or sum(file.stat().st_size for file in files) > FILES_BYTES:
        return None
    return WarmInputs(text, files)


class SlotChannel:
    """A call in a slot. `give_back` gets the slot when it is over, and whether it may be used again."""

    def __init__(self, slot: Slot, limits: Limits, give_back: Callable[[Slot, bool], None]) -> None:
        self._ends = slot.worker()
        slot.ends = None
        self.slot = slot
        self.streams, self.top = self._ends.streams, self._ends.top
        self._limits = limits
        self._give_back = give_back
        self._slot_is_lost = False
        self._was_ahead = slot.ahead is not None
        self._is_kept = False  # its worker waits for another call
        self._started_at = time.monotonic()
        slot.channel.setblocking(False)

    def begin(self, function: Function, inputs: WarmInputs) -> None:
        """Send the call, then its time limit; the worker and the stem act at once, side by side."""
        slot, limits = self.slot, self._limits
        if slot.ahead is not None:
            self._ends.orders.send(inputs.text.encode())
        else:
            order = {
                **slot.zygote.order(function),
                "inputs": inputs.text,
                "names": [file.name for file in inputs.files],
            }
            descriptors = [os.open(file, os.O_RDONLY | os.O_CLOEXEC) for file in inputs.files]
            try:
                socket.send_fds(self._ends.orders, [json.dumps(order).encode()], descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
        may_keep = slot.ahead is not None and function.is_reused and limits.result_bytes >= TOLD_RESULT_BYTES
        times = (limits.timeout_seconds, limits.grace_seconds)
        slot.channel.send(b"run %d %f %f %d" % (slot.serial, *times, may_keep))

    def fileno(self) -> int:
        return self.slot.channel.fileno()

    def tell(self, word: Word) -> None:
        with suppress(OSError):
            self.slot.channel.send(b"%b %d" % (word.encode(), self.slot.serial))

    def hear(self) -> RunEnd | None:
        try:
            said = self.slot.channel.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            said = b""
        if not said:
            return RunEnd(self._lost())
        head, _, rest = said.partition(b"\n")
        told = json.loads(head)
        self._is_kept = told.get("kept", False)
        report: dict[str, Any] = told["ended"]
        if EndReason(report["reason"]) is EndReason.EXITED and report["exit_code"] != 0:
            report |= self._limit_met()
        return RunEnd(report, rest if told["is_all"] else None)

    def close(self, ended: Ended | None) -> None:
        is_clean = ended is not None and ended.exit_code is not None and ended.stop is None and not self._slot_is_lost
        if is_clean and self._is_kept:
            self.slot.keep(self._ends)
        else:
            self._ends.close()
        self._give_back(self.slot, is_clean)

    def _limit_met(self) -> dict[str, Any]:
        """What a failed call ran out of: memory, disk or processes; or a fault of ours."""
        if not self._was_ahead and (fault := self._fault()):
            self._slot_is_lost = True
            return {"reason": EndReason.MACHINE, "detail": fault}
        said, seen = self.slot.zygote.why(self.slot), os.fstatvfs(self.top)
        if said["oom_kills"] or said["machine_kills"]:
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
        self._ends.orders.setblocking(False)
        with suppress(OSError):
            return self._ends.orders.recv(MESSAGE_BYTES).decode("utf-8", "replace")
        return ""

    def _lost(self) -> dict[str, Any]:
        """The stem is gone: killed with its whole group when memory ended, or for an unknown reason."""
        self._slot_is_lost = True
        report = machine_fault(self._started_at, endings.SLOT_DIED)
        try:
            said = self.slot.zygote.why(self.slot)
        except SandboxError as error:
            return report | {"detail": error.message}
        if said["oom_kills"] or said["was_killed"] or said["machine_kills"]:
            return {"wall_seconds": report["wall_seconds"], **self._out_of_memory(said)}
        return report

    def _out_of_memory(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Its own limit was reached, or the machine had no more memory for it."""
        self._slot_is_lost = True
        ended = {"exit_code": None, "signal": None, "peak_bytes": said["peak_bytes"]}
        if said["oom_kills"] or said["was_killed"]:
            return {"reason": EndReason.OUT_OF_MEMORY, **ended}
        return {"reason": EndReason.MACHINE, "short_of": "memory", **ended}
