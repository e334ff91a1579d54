"""The port behind which every kind of isolation stands. It runs one attempt of one task; it knows nothing of databases.

A backend is done when tests/integration/sandbox_contract.py passes on it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, runtime_checkable

from mecapy_platform.core.states import Usage


@dataclass(frozen=True)
class Limits:
    """What one attempt may use. Sizes in bytes or MiB as named, times in seconds."""

    cpu: int
    memory_mb: int
    timeout_seconds: float
    disk_bytes: int  # out, scratch and /tmp together; memory-backed, so it counts as memory too
    disk_files: int = 20_000
    processes: int = 256
    open_files: int = 1024
    output_bytes: int = 1 << 30
    output_files: int = 2_000
    result_bytes: int = 16 << 20
    log_bytes: int = 10 << 20
    progress_bytes: int = 4 << 20
    progress_lines: int = 10_000
    grace_seconds: float = 5.0
    cpu_weight: int = 100  # beside others, where CPU is short


@dataclass(frozen=True)
class Environment:
    """The interpreter that runs a mode A handler and the site-packages built for the version (None.

    Standard library only).
    """

    interpreter: Path
    site_packages: Path | None = None
    vetted: Path | None = (
        None  # some libraries of it once more, by themselves: what a warm sandbox may load before any call
    )
    libraries: tuple[str, ...] = ()  # their names


class Mode(StrEnum):
    """What a run does with the package. Without a call, in/data.json holds the question and the result its answer."""

    CALL = "python"  # of the handler, or of the entry point
    RESTRICTED = "restricted"  # the same, under the guards that lie in in/policy
    DESCRIBE = "describe"  # {name: "module:function"} are imported and answered with {name: signature}
    IMPORTS = "imports"  # where names would be imported from, without importing the package: guest/look.py
    SCAN = "scan"  # by scanners, which the environment brings: guest/look.py
    BYTECODE = "bytecode"  # compile the package: guest/bytecode.py

    @property
    def is_call(self) -> bool:
        return self in {Mode.CALL, Mode.RESTRICTED}


@dataclass(frozen=True)
class SandboxSpec:
    """One attempt to run.

    `inputs` is a directory of ours with data.json and files/; it is shown read-only as /workspace/in.

    With `write_inputs` the directory is made by calling it: by the backend, once, if it needs one. `inputs_text` is
    then the text of data.json, and there are no files.
    """

    task_id: str
    attempt: int
    package: Path
    inputs: Path
    limits: Limits
    environment: Environment | None = None
    handler: str | None = None
    entrypoint: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    required_files: tuple[str, ...] = ()
    optional_files: tuple[str, ...] = ()
    organization: str = ""  # whose code it is: nothing warm is ever shared between two of them
    version: str = ""  # the package version, as a name for what is kept ready for it
    is_warm: bool = False  # it may run in a worker that was made ready before the call
    # durable backends hold its run after the end until `remove`, so that a crash before the report loses nothing
    keep: bool = False
    reuse: int = 0  # so many calls may follow each other in its process, where the backend can; below 2: one
    image: str | None = None  # modes B and C: the image, by digest, that backends of containers run
    inputs_text: str | None = None
    write_inputs: Callable[[], None] | None = None
    mode: Mode = Mode.CALL


class StopReason(StrEnum):
    """Why the platform stops a run before it ends by itself."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    DRAIN = "drain"
    LEASE_LOST = "lease_lost"


class EndReason(StrEnum):
    """How a run ended, as the backend saw it."""

    EXITED = "exited"
    STOPPED = "stopped"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    LOG_LIMIT = "log_limit"
    DISK_LIMIT = "disk_limit"
    PROCESS_LIMIT = "process_limit"
    DETACHED = "detached"  # it goes on without us: another worker may find it
    MACHINE = "machine"


@dataclass(frozen=True)
class Ended:
    """The end of a run: every process of it is dead. `stop` says who asked, where somebody did."""

    reason: EndReason
    exit_code: int | None
    signal: int | None
    usage: Usage
    stop: StopReason | None = None
    detail: str = ""  # for a limit: which, its value, what was reached


@dataclass(frozen=True)
class LogChunk:
    """What the user's code wrote to `stdout` or `stderr`, whole lines where it wrote whole lines."""

    stream: str
    text: str


@dataclass(frozen=True)
class ProgressLine:
    """One line of out/progress.jsonl, parsed."""

    record: dict[str, object]


@dataclass(frozen=True)
class Tick:
    """Nothing happened for a moment; lets the caller look around."""


@dataclass(frozen=True)
class OutputFile:
    """A regular file below out/.

    `name` is its path relative to files/ or artifacts/, `kind` is "file" or "artifact".
    """

    kind: str
    name: str
    size_bytes: int


@dataclass(frozen=True)
class Refusal:
    """An entry below out/ that is not collected (a link, a FIFO, a device, too deep), and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """What was found below out/ once all processes were dead. `result` is the text of data.json, None when absent."""

    result: bytes | None
    error: dict[str, object] | None
    files: tuple[OutputFile, ...] = ()
    refused: tuple[Refusal, ...] = ()
    over_limit: str = ""  # which limit was passed, its value and what was reached; empty when none


@dataclass(frozen=True)
class Seen:
    """How much of a run's output is kept already.

    What a worker that finds the run again does not tell a second time.
    """

    stdout_characters: int = 0
    stderr_characters: int = 0
    progress_lines: int = 0
    platform_pieces: int = 0


NOTHING_SEEN = Seen()


class Outputs(Protocol):
    """What a call left behind, once all its processes are dead."""

    def collect(self) -> Collected:
        """List the outputs by descriptor, following no link."""

    def open_output(self, file: OutputFile) -> BinaryIO:
        """Open one collected file for reading."""


class Run(Protocol):
    """A started attempt.

    `events` is read by one thread; `stop` may come from any thread, at any time, more than once.
    """

    @property
    def reference(self) -> str | None:
        """A name that finds the run again after the worker restarts, or None where the backend has none."""

    def events(self, interval_seconds: float = 0.25) -> Iterator[LogChunk | ProgressLine | Tick]:
        """Yield output, progress and ticks until every process is dead. Enforces the time limit and the log limit."""

    def stop(self, reason: StopReason) -> None:
        """SIGTERM to the user's processes, `grace_seconds`, then SIGKILL of the whole tree. Returns at once.

        A durable run is let go instead of stopped when the reason is the worker's alone (DRAIN, LEASE_LOST): another
        worker goes on.
        """

    def ended(self) -> Ended:
        """How it ended; only after `events` is exhausted."""

    def collect(self) -> Collected:
        """List the outputs by descriptor, following no link; only after `events` is exhausted."""

    def open_output(self, file: OutputFile) -> BinaryIO:
        """Open one collected file for reading."""

    def close(self) -> None:
        """Free everything the run holds: processes, mounts, groups, directories. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Check:
    """One line of a self-test: what was tried, whether it held, and what to do when it did not."""

    name: str
    holds: bool
    detail: str = ""
    required: bool = True


@dataclass(frozen=True)
class SelfTest:
    """`is_whole` False: it holds, but a part that makes calls faster is left out until a later test finds it whole."""

    checks: tuple[Check, ...] = field(default=())
    is_whole: bool = True

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks if check.required)


@dataclass(frozen=True)
class Kept:
    """A run that a durable backend holds on this node, live or ended.

    `is_overdue`: longer than its own limits allow.
    """

    reference: str
    task_id: str
    attempt: int
    is_attempt: bool
    is_overdue: bool


class Sandbox(Protocol):
    """A kind of isolation."""

    name: str
    is_durable: bool

    def self_test(self) -> SelfTest:
        """Try what tenants' code must not be able to do; a worker refuses work when it does not hold."""

    def start(self, spec: SandboxSpec) -> Run:
        """Start an attempt. Raises SandboxError when the machine, not the user, is at fault."""

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        """The run behind a durable reference, or None when it is gone. Its events go on after what was `seen`."""


class OwnedSandbox(Sandbox, Protocol):
    """A backend as whoever made it holds it."""

    def close(self) -> None:
        """Free what the backend itself holds, such as sandboxes that wait. Durable runs go on."""


@runtime_checkable
class StartsAtOnce(Protocol):
    """A kind of isolation that keeps runs ready for calls to come."""

    def start_at_once(self, spec: SandboxSpec) -> Run | None:
        """Start an attempt where one waits for just this call. None, without waiting, where something must be made."""


@dataclass(frozen=True)
class PoolCapacity:
    """What all machines behind a backend have together."""

    cpu: float
    memory_mb: int


@runtime_checkable
class Pooled(Protocol):
    """A kind of isolation with machines of its own, so that runs use none of the worker's."""

    def capacity(self) -> PoolCapacity:
        """Of all of them, in use or not."""


@runtime_checkable
class Attended(Protocol):
    """A kind of isolation whose runs are started by another process of the node, and may die with it."""

    def life(self) -> str:
        """Names the present life of that process; another name says that it was started again.

        Raises
        ------
        OutageError
            It is away.
        """


@runtime_checkable
class DurableSandbox(Sandbox, Protocol):
    """A kind of isolation whose runs outlive their worker."""

    def kept(self) -> Sequence[Kept]:
        """Every run of ours on this node; other platforms' are never listed. Empty where nothing is durable."""

    def remove(self, reference: str) -> None:
        """End a kept run and free what it holds. One that is gone already is no error."""


@runtime_checkable
class ReusingSandbox(Sandbox, Protocol):
    """A kind of isolation in which one process may serve several calls of a function version, one after another."""

    can_reuse: bool


@dataclass(frozen=True)
class SharedCall:
    """One of the calls that share a worker. `number` names it in its run; `text` is that of in/data.json."""

    number: int
    handler: str
    text: str
    timeout_seconds: float


@dataclass(frozen=True)
class SharedEnd:
    """How one of them ended. `is_doubtful`: its group ended it, and nobody knows whether by its own fault.

    `outputs` can be read until the next end is asked for.
    """

    number: int
    ended: Ended
    outputs: Outputs
    log: tuple[LogChunk, ...] = ()
    is_doubtful: bool = False


class SharedRun(Protocol):
    """A worker that has loaded a module and serves calls of it, one after another, each in a fork of its own.

    With `reuse` in its spec, in the module itself.
    """

    def run(self, calls: Sequence[SharedCall], is_cancelled: Callable[[int], bool]) -> Iterator[SharedEnd | Tick]:
        """Their ends, in their order, and ticks meanwhile. Those not told of in the end have not begun."""

    def stop(self, reason: StopReason) -> None:
        """Kill the call that runs and begin no other; from any thread, more than once."""

    def close(self) -> None:
        """Free everything that it holds. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class SharingSandbox(Protocol):
    """A kind of isolation in which calls may share a worker."""

    def share(self, spec: SandboxSpec, handlers: Sequence[str]) -> SharedRun | None:
        """A worker for calls of these handlers of the package, without inputs; None where none can be had now."""
