"""Calls that share a worker of a warm slot: batches go to its stem, ends come back, see guest/csource/shared.c."""

import json
import logging
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, BinaryIO, Self

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import (
    Collected,
    Ended,
    EndReason,
    Limits,
    LogChunk,
    OutputFile,
    SandboxSpec,
    SharedCall,
    SharedEnd,
    StopReason,
    Tick,
)
from mecapy_platform.sandbox.bubblewrap.zygote import Function, Slot
from mecapy_platform.sandbox.collect import collect_outputs, open_output
from mecapy_platform.sandbox.limits import thread_environment
from mecapy_platform.sandbox.output_streams import FLOOD

log = logging.getLogger(__name__)
BATCH, ASKED, END = struct.Struct("<8sII"), struct.Struct("<IIIIdd"), struct.Struct("<IiIIIIIIddQQ")
HEAD = 8  # of a message of ends
ROOM_BYTES = 128 << 10  # of a message, as in shared.c
REASONS = (EndReason.EXITED, EndReason.TIMEOUT, EndReason.STOPPED, EndReason.LOG_LIMIT)
IS_ALL, IS_ERROR, DISK_IS_FULL, NO_MORE_FILES = 1, 2, 4, 8
BATCH_SECONDS = 0.1  # what a batch should take
BATCH_MOST = 512
TICK_SECONDS = 0.25
LOAD_SECONDS = 60.0  # of a module, before calls go alone
ANSWER_SECONDS = 30.0
NOTHING_USED = Usage(0.0, None, None)


@dataclass(frozen=True)
class SharedOutputs:
    """What a call left: told beside its end, or, where `top` is set, to be read in its folder once all is dead."""

    limits: Limits
    told: Collected
    top: int | None = None

    def collect(self) -> Collected:
        return self.told if self.top is None else collect_outputs(self.top, self.limits)

    def open_output(self, file: OutputFile) -> BinaryIO:
        assert self.top is not None
        return open_output(self.top, file)


class SharedSlot:
    """A worker of a slot that serves calls. `give_back` gets the slot, and whether it may be used again.

    The stem ends each call in time; should it not tell so within `answer_seconds`, the slot counts as lost.
    """

    def __init__(
        self,
        slot: Slot,
        spec: SandboxSpec,
        give_back: Callable[[Slot, bool], None],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._slot, self._spec, self._give_back, self._answer_seconds = slot, spec, give_back, answer_seconds
        self._ends = slot.worker()
        slot.ends = None
        self._handlers: dict[str, int] = {}
        self._asked: list[SharedCall] = []  # those of the batch under way that have not ended
        self._stopping: set[int] = set()
        self._stop_reason: StopReason | None = None
        self._stopped_at = 0.0
        self._has_ended = self._is_lost = self._is_closed = False
        self._lock = threading.Lock()

    def load(self, function: Function, handlers: Sequence[str]) -> bool:
        """Let the worker load the handlers; False where calls of them cannot share it."""
        slot, reuse = self._slot, self._spec.reuse if self._spec.reuse > 1 else 0
        self._handlers = {handler: number for number, handler in enumerate(handlers)}
        log_bytes = self._spec.limits.log_bytes * FLOOD
        try:
            order = slot.zygote.order(replace(function, reuse=0))
            order["environment"] |= thread_environment(replace(function.limits, cpu=1))  # a fork keeps no other thread
            order["shared"] = {"handlers": list(handlers), "reuse": reuse}
            self._ends.orders.send(json.dumps(order).encode())
            slot.channel.send(b"share %d %f %d %d" % (slot.serial, LOAD_SECONDS, log_bytes, reuse))
        except (OSError, SandboxError) as error:
            log.warning("calls go alone: %s", error)
            return False
        said = self._hear(LOAD_SECONDS + ANSWER_SECONDS)
        self._has_ended = said is not None and said.startswith(b"{")
        return said == b"shared"

    def run(self, calls: Sequence[SharedCall], is_cancelled: Callable[[int], bool]) -> Iterator[SharedEnd | Tick]:
        left, size = list(calls), 1
        while left and not self._is_over:
            batch = self._next_batch(left, size, is_cancelled)
            for call in [call for call in left[: len(batch) or 1] if is_cancelled(call.number)]:
                left.remove(call)
                yield self._cancelled(call)
            batch = [call for call in batch if call in left]
            if not batch:
                continue
            began = time.monotonic()
            self._send(batch)
            for end in self._ends_of_batch(is_cancelled):
                if isinstance(end, SharedEnd):
                    del left[0]
                yield end
            each = (time.monotonic() - began) / len(batch)
            size = max(1, min(int(BATCH_SECONDS / max(each, 1e-5)), size * 4, BATCH_MOST))

    def stop(self, reason: StopReason) -> None:
        with self._lock:
            if self._stop_reason is None and not self._is_closed:
                self._stopped_at = time.monotonic()
                self._stop_reason = reason
                self._tell(b"kill %d" % self._slot.serial)

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if not self._is_over:
                self._tell(b"kill %d" % self._slot.serial)
        try:
            until = time.monotonic() + self._answer_seconds
            while not self._has_ended and not self._is_lost and time.monotonic() < until:
                self._has_ended = (self._hear(self._answer_seconds) or b"").startswith(b"{")
        finally:
            self._ends.close()
            self._give_back(self._slot, self._has_ended and not self._is_lost)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._is_lost or self._stop_reason is not None

    def _next_batch(
        self, left: Sequence[SharedCall], size: int, is_cancelled: Callable[[int], bool]
    ) -> list[SharedCall]:
        """The next ones, as far as they fit into a message."""
        room, batch = ROOM_BYTES - BATCH.size, list[SharedCall]()
        for call in left[:size]:
            room -= ASKED.size + len(call.text.encode())
            if room < 0 or is_cancelled(call.number):
                break
            batch.append(call)
        return batch

    def _send(self, batch: Sequence[SharedCall]) -> None:
        grace, texts = self._spec.limits.grace_seconds, [call.text.encode() for call in batch]
        asked = [
            ASKED.pack(call.number, self._handlers[call.handler], len(text), 0, call.timeout_seconds, grace)
            for call, text in zip(batch, texts, strict=True)
        ]
        self._asked = list(batch)
        self._stopping.clear()
        self._tell(b"".join([BATCH.pack(b"batch", len(batch), 0), *asked, *texts]))

    def _ends_of_batch(self, is_cancelled: Callable[[int], bool]) -> Iterator[SharedEnd | Tick]:
        """In their order. A worker that must end after a call tells so; its folder is read when it is dead."""
        held: SharedEnd | None = None
        heard_at = time.monotonic()
        while self._asked or held is not None:
            said = self._hear(TICK_SECONDS)
            if said is None and not self._is_overdue(heard_at):
                self._stop_cancelled(is_cancelled)
                yield Tick()
                continue
            heard_at = time.monotonic()
            if said is None:
                said = b""
            if said.startswith(b"ends"):
                for end in self._read(said):
                    if isinstance(end.outputs, SharedOutputs) and end.outputs.top is not None:
                        held = end
                    else:
                        yield end
                continue
            if said.startswith(b"{"):
                self._has_ended = True
                if held is not None:
                    yield held
            elif held is not None:
                yield self._lost(held.number)
            else:
                yield self._lost(self._asked.pop(0).number)
            return

    def _is_overdue(self, heard_at: float) -> bool:
        """Whether the stem, which tells ends of calls at once or nearly so, has failed to."""
        limit = self._asked[0].timeout_seconds + self._spec.limits.grace_seconds if self._asked else 0.0
        until = heard_at + limit + self._answer_seconds
        if self._stop_reason is not None:
            until = min(until, self._stopped_at + self._answer_seconds)
        return time.monotonic() > until

    def _stop_cancelled(self, is_cancelled: Callable[[int], bool]) -> None:
        """Of the batch, the one that runs; the ends of those before it have come by now."""
        if self._asked and is_cancelled(self._asked[0].number) and self._asked[0].number not in self._stopping:
            self._stopping.add(self._asked[0].number)
            self._tell(b"stop %d %d" % (self._slot.serial, self._asked[0].number))

    def _read(self, said: bytes) -> Iterator[SharedEnd]:
        at = HEAD
        while at < len(said):
            number, code, reason, flags, *sizes, _unused, wall, cpu, peak, log_bytes = END.unpack_from(said, at)
            at += END.size
            result, out, err = (said[at + sum(sizes[:i]) : at + sum(sizes[: i + 1])] for i in range(3))
            at += sum(sizes)
            call = self._asked.pop(0)
            limits = replace(self._spec.limits, timeout_seconds=call.timeout_seconds)
            report: dict[str, Any] = {
                "reason": REASONS[reason],
                "exit_code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "wall_seconds": wall,
                "cpu_seconds": cpu,
                "peak_bytes": peak,
                "log_bytes": log_bytes,
            }
            if code != 0 and REASONS[reason] is EndReason.EXITED and flags & (DISK_IS_FULL | NO_MORE_FILES):
                over = "bytes" if flags & DISK_IS_FULL else "files"
                report |= {"reason": EndReason.DISK_LIMIT, "over": over}
            ended = endings.read_end(report, limits, stop=self._asker(number, REASONS[reason]))
            told = Collected(None, _error(result)) if flags & IS_ERROR else Collected(result or None, None)
            outputs = SharedOutputs(limits, told, None if flags & IS_ALL else self._ends.top)
            yield SharedEnd(number, ended, outputs, _chunks(out, err, log_bytes))

    def _asker(self, number: int, reason: EndReason) -> StopReason | None:
        if reason is not EndReason.STOPPED:
            return None
        return StopReason.CANCELLED if number in self._stopping else self._stop_reason

    def _cancelled(self, call: SharedCall) -> SharedEnd:
        ended = Ended(EndReason.STOPPED, None, None, NOTHING_USED, StopReason.CANCELLED)
        return SharedEnd(call.number, ended, SharedOutputs(self._spec.limits, Collected(None, None)))

    def _lost(self, number: int) -> SharedEnd:
        """The slot is gone: killed with its whole group when memory ended, or silent, or for an unknown reason."""
        self._is_lost = True
        ended = Ended(EndReason.MACHINE, None, None, NOTHING_USED)
        outputs = SharedOutputs(self._spec.limits, Collected(None, None))
        return SharedEnd(number, ended, outputs, is_doubtful=True)

    def _tell(self, message: bytes) -> None:
        with suppress(OSError):
            self._slot.channel.send(message)

    def _hear(self, seconds: float) -> bytes | None:
        """A message; empty where the slot is gone, None where nothing came."""
        try:
            waiting = select.poll()
            waiting.register(self._slot.channel, select.POLLIN)
            if not waiting.poll(seconds * 1000):
                return None
            said = self._slot.channel.recv(ROOM_BYTES)
        except (OSError, ValueError):
            said = b""
        self._is_lost = self._is_lost or not said
        return said


def _error(text: bytes) -> dict[str, object] | None:
    with suppress(ValueError, RecursionError):
        record = json.loads(text)
        return record if isinstance(record, dict) else None
    return None


def _chunks(out: bytes, err: bytes, written: int) -> tuple[LogChunk, ...]:
    texts = {"stdout": out, "stderr": err}
    chunks = [LogChunk(name, text.decode("utf-8", "replace")) for name, text in texts.items() if text]
    kept = len(out) + len(err)
    if written > kept:
        chunks.append(LogChunk("platform", endings.log_truncated(kept)))
    return tuple(chunks)
