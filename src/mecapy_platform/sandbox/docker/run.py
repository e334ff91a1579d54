"""Follows one container from the worker's side.

Its first process over the socket, its log and its outputs by descriptor.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, BinaryIO, Self

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import (
    NOTHING_SEEN,
    Collected,
    Ended,
    EndReason,
    Limits,
    LogChunk,
    OutputFile,
    ProgressLine,
    Seen,
    StopReason,
    Tick,
)
from mecapy_platform.sandbox.collect import collect_from, open_output_from
from mecapy_platform.sandbox.docker.control_groups import Groups
from mecapy_platform.sandbox.docker.link import Hello, Link
from mecapy_platform.sandbox.docker.log import LogTail, Unseen
from mecapy_platform.sandbox.output_streams import ProgressTail

LATE_SECONDS = 30.0  # beyond limit and grace; then the container is killed from outside
LOOK_SECONDS = 1.0  # between two questions to the daemon about a container whose first process is silent
PLACES = ("/workspace/out", "/workspace/scratch", "/tmp", "/dev/shm")  # noqa: S108 - inside the container
DETAIL_CHARACTERS = 2000
LONGEST_SECONDS = 1e9
NONE_USED = Usage(0.0, None, None)


@dataclass(frozen=True)
class Container:
    """One container and what its run may need from the backend. `release` frees it: at once, or when there is time."""

    container_id: str
    limits: Limits
    link: Link
    inspect: Callable[[], Mapping[str, Any] | None]
    kill: Callable[[], None]
    release: Callable[[bool], None]
    keep: bool = False


class DockerRun:
    """A run that outlives its worker: only `close` after its end, or `stop`, ends the container."""

    def __init__(self, container: Container, seen: Seen = NOTHING_SEEN) -> None:
        self._container = container
        self._limits = container.limits
        self._link = container.link
        self._groups = Groups({}, 1)
        self._out = self._log_fd = -1
        self._log: LogTail | None = None
        self._progress: ProgressTail | None = None
        self._unseen = Unseen(seen)
        self._stop_reason: StopReason | None = None
        self._is_detached = False
        self._is_killed = False
        self._ended: Ended | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._started_at = time.monotonic()
        self._asked_at = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def reference(self) -> str:
        return self._container.container_id

    def has_ended_early(self) -> bool:
        """It died before its first process could say a word."""
        return self._ended is not None and self._log is None

    def let_go(self) -> None:
        """Leave the container as it is."""
        self._is_detached = True
        self.close()

    def begin(self, order: Mapping[str, Any], *, keep: bool) -> bool:
        """Give a container that was started ahead its one order; False when it is not there any more."""
        self._container = replace(self._container, keep=keep)
        self._started_at = time.monotonic()
        return self._link.say({"order": order})

    def wait_for_hello(self, seconds: float) -> None:
        """Return once the first process of the container has come, or has been found dead."""
        deadline = time.monotonic() + seconds
        while not self._link.is_connected and self._ended is None:
            self._wait(0.5)
            if not self._link.is_connected and self._ended is None:
                self._look_after()
                if time.monotonic() > deadline:
                    raise SandboxError("sandbox_not_started", f"The container did not answer within {seconds:g} s.")

    def events(self, interval_seconds: float = 0.25) -> Iterator[LogChunk | ProgressLine | Tick]:
        if self._is_closed:
            return
        looked_at = 0.0
        while self._ended is None and not self._is_closed and not self._is_detached:
            self._wait(interval_seconds)
            yield from self._read_log(is_final=False)
            if time.monotonic() - looked_at >= interval_seconds and self._ended is None:
                looked_at = time.monotonic()
                yield from self._read_progress(is_final=False)
                self._look_after()
                yield Tick()
        if self._is_detached:
            self._ended = Ended(
                EndReason.DETACHED, None, None, self._usage({}), self._stop_reason, "left to another worker"
            )
        elif not self._is_closed:
            yield from self._read_log(is_final=True)
            yield from self._read_progress(is_final=True)
            yield Tick()

    def stop(self, reason: StopReason) -> None:
        with self._lock:
            if self._stop_reason is not None or self._is_closed or self._ended is not None:
                return
            self._stop_reason = reason
            if reason in {StopReason.DRAIN, StopReason.LEASE_LOST}:
                self._is_detached = True
            else:
                self._link.say({"stop": reason})
        self._wake()

    def ended(self) -> Ended:
        assert self._ended is not None, "the run has not ended"
        return self._ended

    def collect(self) -> Collected:
        self.ended()
        return Collected(None, None) if self._out < 0 else collect_from(self._out, self._limits)

    def open_output(self, file: OutputFile) -> BinaryIO:
        return open_output_from(self._out, file)

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        is_over = self._ended is not None
        if not self._is_detached and not (is_over and self._container.keep):
            self._link.say({"bye": True})
            self._container.release(is_over)
        self._link.close()
        for fd in (self._out, self._log_fd, self._wake_read, self._wake_write):
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wake(self) -> None:
        with suppress(OSError):
            os.write(self._wake_write, b"x")

    def _wait(self, seconds: float) -> None:
        source = self._link.wait_on()
        link = -1 if source is None else source.fileno()
        waiter = select.poll()  # no limit on the numbers of descriptors
        for fd in (self._wake_read, link):
            if fd >= 0:
                waiter.register(fd, select.POLLIN)
        ready = {fd for fd, _event in waiter.poll(seconds * 1000)}
        if self._wake_read in ready:
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        if link not in ready:
            return
        if not self._link.is_connected:
            hello = self._link.accept()
            if hello is not None:
                self._greet(hello)
            return
        for message in self._link.hear():
            if "ended" in message:
                self._ended = self._read_end(message["ended"])
        if not self._link.is_connected and self._ended is None:
            self._link.listen()

    def _greet(self, hello: Hello) -> None:
        """Take what the container's first process brings; repeated after each new connection."""
        if self._log is None:
            self._out, self._log_fd = hello.out, hello.log
            self._log = LogTail(hello.log, self._limits.log_bytes)
            self._progress = ProgressTail(hello.out, self._limits, "progress.jsonl")
            self._groups = Groups.of(hello.pid)
            self._started_at = time.monotonic() - _seconds(hello.state.get("seconds"))
        else:
            os.close(hello.out)
            os.close(hello.log)
        with self._lock:
            if self._stop_reason is not None and not self._is_detached:
                self._link.say({"stop": self._stop_reason})
        if hello.state.get("ended"):
            self._ended = self._read_end(hello.state["ended"])

    def _read_log(self, *, is_final: bool) -> Iterator[LogChunk]:
        if self._log is not None:
            for chunk in self._log.read(is_final=is_final):
                yield from self._unseen.of_chunk(chunk)

    def _read_progress(self, *, is_final: bool) -> Iterator[ProgressLine | LogChunk]:
        for event in () if self._progress is None else self._progress.read(final=is_final):
            if isinstance(event, ProgressLine):
                yield from self._unseen.of_progress(event)
            else:
                yield from self._unseen.of_chunk(event)

    def _look_after(self) -> None:
        """What the first process cannot see or say: memory that ran out, its own death, being late."""
        limits = self._limits
        if self._link.is_connected:
            if self._groups.memory_kills().own > 0 and not self._is_killed:
                self._is_killed = self._link.say({"kill": EndReason.OUT_OF_MEMORY, "detail": ""})
            if time.monotonic() - self._started_at > limits.timeout_seconds + limits.grace_seconds + LATE_SECONDS:
                self._end_from_outside(EndReason.TIMEOUT)
            return
        if time.monotonic() - self._asked_at < LOOK_SECONDS:
            return
        self._asked_at = time.monotonic()
        try:
            found = self._container.inspect()
        except SandboxError:
            return  # the daemon is away; the container may well go on
        if found is None:
            self._end_from_outside(EndReason.MACHINE, endings.CONTAINER_GONE)
        elif not found["state"]["Running"] and found["state"]["Status"] != "created":
            self._end_by_death(found["state"])

    def _end_by_death(self, state: Mapping[str, Any]) -> None:
        if state.get("OOMKilled"):
            self._end_from_outside(EndReason.OUT_OF_MEMORY)
        else:
            words = f"{state.get('Error') or ''}".strip()
            self._end_from_outside(
                EndReason.MACHINE, f"the container ended by itself with code {state.get('ExitCode')}. {words}".strip()
            )

    def _end_from_outside(self, reason: EndReason, detail: str = "") -> None:
        if not self._container.keep:
            with suppress(SandboxError):
                self._container.kill()
        said = {"reason": reason, "detail": detail}
        self._ended = endings.read_end(said, self._limits, stop=self._stop_reason, usage=self._usage({}))

    def _read_end(self, said: object) -> Ended:
        """The first process's word, and the control groups' where they know more."""
        try:
            told = _checked_end(said)
        except (KeyError, TypeError, ValueError):
            detail = endings.NOT_UNDERSTOOD
            return Ended(EndReason.MACHINE, None, None, self._usage({}), self._stop_reason, detail)
        return self._end_with(told)

    def _end_with(self, said: Mapping[str, Any]) -> Ended:
        reason, usage, more = EndReason(said["reason"]), self._usage(said), dict[str, Any]()
        refused, kills = self._groups.pids_refused(), self._groups.memory_kills()
        if kills.own > 0 and reason in {EndReason.EXITED, EndReason.OUT_OF_MEMORY}:
            more = {"reason": EndReason.OUT_OF_MEMORY, "peak_bytes": (usage.peak_memory_mb or 0) * endings.MIB}
        elif reason is EndReason.EXITED and said["exit_code"] != 0 and kills.others:
            more = {"reason": EndReason.MACHINE, "short_of": "memory"}
        elif reason is EndReason.EXITED and said["exit_code"] != 0 and refused:
            more = {"reason": EndReason.PROCESS_LIMIT, "refused": refused}
        return endings.read_end({**said, **more}, self._limits, stop=self._stop_reason, usage=usage)

    def _usage(self, said: Mapping[str, Any]) -> Usage:
        wall = _seconds(said.get("wall_seconds")) or time.monotonic() - self._started_at
        peak = self._groups.peak_bytes()
        return Usage(wall, self._groups.cpu_seconds() or said.get("cpu_seconds"), peak / (1 << 20) if peak else None)


def _checked_end(said: object) -> Mapping[str, Any]:
    """What the first process tells of its end, each member of its kind and its size.

    Raises
    ------
    KeyError, TypeError, ValueError
        It is something else.
    """
    if not isinstance(said, dict):
        raise TypeError("no object")
    for name in ("exit_code", "signal"):
        if said[name] is not None and (isinstance(said[name], bool) or not isinstance(said[name], int)):
            raise TypeError(name)
        if said[name] is not None and not 0 <= said[name] < 1 << 16:
            raise ValueError(name)
    return {
        "reason": EndReason(said["reason"]),
        "detail": str(said.get("detail") or "")[:DETAIL_CHARACTERS],  # of a container that an older version started
        "over": "files" if said.get("over") == "files" else "bytes",
        "place": said["place"] if said.get("place") in PLACES else "",
        "reached": _count(said.get("reached")),
        "log_bytes": _count(said.get("log_bytes")),
        "exit_code": said["exit_code"],
        "signal": said["signal"],
        "stop": said["stop"] if isinstance(said["stop"], str) else "",
        "wall_seconds": _seconds(said["wall_seconds"]),
        "cpu_seconds": _seconds(said["cpu_seconds"]),
    }


def _count(value: object) -> int:
    """A number of bytes or files that was told, 0 where it is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 60
    return value if is_count and isinstance(value, int) else 0


def _seconds(value: object) -> float:
    """A time that was told, 0 where it is none."""
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LONGEST_SECONDS
    return float(value) if is_time and isinstance(value, int | float) else 0.0
