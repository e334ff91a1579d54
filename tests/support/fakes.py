"""A sandbox without isolation, for tests of what stands around one.

It runs the real guest in a plain process, and misbehaves on request.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from mecapy_platform.core.errors import OutageError, SandboxError
from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import (
    NOTHING_SEEN,
    Check,
    Collected,
    Ended,
    EndReason,
    LogChunk,
    OutputFile,
    ProgressLine,
    SandboxSpec,
    Seen,
    SelfTest,
    StopReason,
    Tick,
)
from mecapy_platform.sandbox.collect import collect_outputs, open_output
from mecapy_platform.sandbox.guest_order import guest_order
from mecapy_platform.sandbox.limits import thread_environment
from mecapy_platform.sandbox.output_streams import FLOOD, LineBuffer, ProgressTail

GUEST = Path(sys.modules[SandboxSpec.__module__].__file__ or "").parent / "guest"
START = (
    "import os, sys; sys.path.insert(0, sys.argv[2]); from _mecapy_guest import runner; "
    "os._exit(runner.main(sys.argv[1]))"
)


class Misbehaviour(StrEnum):
    HANG = "hang"  # never ends, and takes no notice of a stop until it is killed
    DIE = "die"  # the machine under it is lost
    LIE = "lie"  # ends with 0 and a result that is no JSON
    REFUSE = "refuse"  # does not start
    UNSAFE = "unsafe"  # its self-test does not hold
    AWAY = "away"  # what starts its runs is away, and those that run die with it


@dataclass
class FakeSandbox:
    """`misbehave`: what each start from now on does wrong; may be changed between starts.

    `started` keeps every spec.
    """

    misbehave: Misbehaviour | None = None
    name: str = "fake"
    is_durable: bool = False
    started: list[SandboxSpec] = field(default_factory=list)
    lives: int = 1  # counted by who starts it again

    def self_test(self) -> SelfTest:
        self.life()
        return SelfTest((Check("isolation", self.misbehave is not Misbehaviour.UNSAFE, "asked to fail"),))

    def life(self) -> str:
        if self.misbehave is Misbehaviour.AWAY:
            raise OutageError("fake_away", "The fake was asked to be away.")
        return str(self.lives)

    def start(self, spec: SandboxSpec) -> "FakeRun":
        self.started.append(spec)
        self.life()
        if self.misbehave is Misbehaviour.REFUSE:
            raise SandboxError("sandbox_not_started", "The fake was asked to refuse.")
        return FakeRun(spec, self.misbehave)

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> "FakeRun | None":
        del reference, seen
        return None

    def close(self) -> None:
        pass


class FakeRun:
    reference: str | None = None

    def __init__(self, spec: SandboxSpec, misbehave: Misbehaviour | None) -> None:
        self._spec = spec
        self._misbehave = misbehave
        self._root = Path(tempfile.mkdtemp(prefix="fake-sandbox-"))
        self._workspace = self._root / "workspace"
        for name in ("out/files", "out/artifacts", "scratch"):
            (self._workspace / name).mkdir(parents=True)
        if spec.write_inputs is not None:
            spec.write_inputs()
        shutil.copytree(spec.inputs, self._workspace / "in")
        self._copy(spec.package, self._root / "package")
        self._copy(GUEST, self._root / "guest" / "_mecapy_guest")
        self._top = os.open(self._workspace, os.O_RDONLY | os.O_DIRECTORY)
        self._started_at = time.monotonic()
        self._process = self._spawn()
        self._progress = ProgressTail(self._top, spec.limits)
        self._stop_reason: StopReason | None = None
        self._kill_at: float | None = None
        self._ended: Ended | None = None
        self._is_closed = False
        self._log_bytes = 0
        self._lock = threading.Lock()

    def events(self, interval_seconds: float = 0.25) -> Iterator[LogChunk | ProgressLine | Tick]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        if self._is_closed:
            return
        buffers = {
            self._process.stdout.fileno(): LineBuffer("stdout"),
            self._process.stderr.fileno(): LineBuffer("stderr"),
        }
        for fd in buffers:
            os.set_blocking(fd, False)
        is_over = False
        waiter = threading.Event()
        while not is_over:
            is_over = self._is_over()
            for fd, buffer in buffers.items():
                yield from self._read(fd, buffer, final=is_over)
            yield from self._progress.read(final=is_over)
            yield Tick()
            if not is_over:
                waiter.wait(min(interval_seconds, 0.02))

    def stop(self, reason: StopReason) -> None:
        with self._lock:
            if self._stop_reason is None and self._ended is None and not self._is_closed:
                self._stop_reason = reason
                self._kill_at = time.monotonic() + self._spec.limits.grace_seconds
                if self._misbehave is not Misbehaviour.HANG:
                    self._signal(signal.SIGTERM)

    def ended(self) -> Ended:
        assert self._ended is not None, "the run has not ended"
        return self._ended

    def collect(self) -> Collected:
        if self._misbehave is Misbehaviour.LIE:
            return Collected(b"{not json", None)
        return collect_outputs(self._top, self._spec.limits)

    def open_output(self, file: OutputFile) -> BinaryIO:
        return open_output(self._top, file)

    def kill(self) -> None:
        """End it from outside, as its machine would."""
        self._kill_at = 0.0
        self._stop_reason = self._stop_reason or StopReason.CANCELLED

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._signal(signal.SIGKILL)
        self._process.communicate()
        os.close(self._top)
        shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        spec = self._spec
        python = sys.executable if spec.environment is None else str(spec.environment.interpreter)
        command = [python, "-I", "-S", "-B", "-u", "-c", START, guest_order(spec), str(self._root / "guest")]
        if self._misbehave is Misbehaviour.HANG:
            command = ["/bin/sleep", "3600"]
        scratch = str(self._workspace / "scratch")
        environment = {
            **thread_environment(spec.limits),
            "MECAPY_SCRATCH": scratch,
            "PATH": "/usr/bin:/bin",
            "HOME": scratch,
        }
        return subprocess.Popen(
            command,
            cwd=scratch,
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _copy(self, source: Path, target: Path) -> None:
        """The sandbox's own paths become paths of this run, in the text of every module."""
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        site = None if self._spec.environment is None else self._spec.environment.site_packages
        for path in target.rglob("*.py"):
            text = (
                path.read_text("utf-8")
                .replace("/workspace", str(self._workspace))
                .replace('"/package"', f'"{self._root}/package"')
            )
            path.write_text(text.replace("/site-packages", str(site)), "utf-8")

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _is_over(self) -> bool:
        now, limits = time.monotonic(), self._spec.limits
        if self._misbehave is Misbehaviour.DIE:
            self._end(EndReason.MACHINE, "the fake was asked to die")
        elif self._process.poll() is not None:
            self._end(EndReason.EXITED if self._stop_reason is None else EndReason.STOPPED, "")
        elif self._kill_at is not None and now >= self._kill_at:
            self._end(EndReason.STOPPED, "")
        elif now - self._started_at >= limits.timeout_seconds:
            self.stop(StopReason.TIMEOUT)
        elif self._log_bytes > FLOOD * limits.log_bytes:
            said = {"log_bytes": self._log_bytes}
            self._end(EndReason.LOG_LIMIT, endings.sentence(EndReason.LOG_LIMIT, limits, said))
        return self._ended is not None

    def _end(self, reason: EndReason, detail: str) -> None:
        self._signal(signal.SIGKILL)
        code = self._process.wait()
        if self._stop_reason is StopReason.TIMEOUT:
            reason = EndReason.TIMEOUT
            detail = endings.sentence(reason, self._spec.limits, {})
        usage = Usage(time.monotonic() - self._started_at, 0.01, 10.0)
        exit_code, number = (code, None) if code >= 0 else (None, -code)
        if self._misbehave is Misbehaviour.LIE:
            exit_code, number = 0, None
        self._ended = Ended(reason, exit_code, number, usage, self._stop_reason, detail)

    def _read(self, fd: int, buffer: LineBuffer, *, final: bool) -> Iterator[LogChunk]:
        limit = self._spec.limits.log_bytes
        while True:
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                data = b""
            was_over = self._log_bytes > limit
            self._log_bytes += len(data)
            text = buffer.feed(data, final=final and not data)
            if text and not was_over:
                yield LogChunk(buffer.stream, text)
                if self._log_bytes > limit:
                    yield LogChunk("platform", endings.log_truncated(limit))
            if not data or self._log_bytes > FLOOD * limit:
                return
