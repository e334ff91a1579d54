"""The backend that needs no Docker: bwrap, started by our spawner, which this process reaches over a socket."""

import json
import os
import socket
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mecapy_platform.core.errors import OutageError, SandboxError
from mecapy_platform.sandbox.base import NOTHING_SEEN, Check, Mode, Run, SandboxSpec, Seen, SelfTest, SharedRun
from mecapy_platform.sandbox.bubblewrap.channel import SpawnerChannel
from mecapy_platform.sandbox.bubblewrap.local_spawner import LocalSpawner
from mecapy_platform.sandbox.bubblewrap.run import BubblewrapRun
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits, WarmPool
from mecapy_platform.sandbox.guest_order import guest_order
from mecapy_platform.sandbox.limits import thread_environment
from mecapy_platform.sandbox.output_streams import Streams
from mecapy_platform.sandbox.peer import listener_pid
from mecapy_platform.sandbox.self_test import run_self_test
from mecapy_platform.sandbox.spawner.config import limits_to_ask
from mecapy_platform.sandbox.syscalls.bpf import LAST_PROGRAM
from mecapy_platform.sandbox.tools import allow_root_tools

ANSWER_SECONDS = 30.0
SELF_TEST = "self-test"  # whose warm sandboxes those of the self-test are


class BubblewrapSandbox:
    """One attempt, one bwrap. `socket_path`: of the platform's spawner; None: start one of our own at first use."""

    name = "bubblewrap"
    is_durable = False
    can_reuse = True

    def __init__(self, socket_path: Path | None = None, warm: WarmLimits | None = None) -> None:
        self._pool = None if warm is None else WarmPool(self._connect, LAST_PROGRAM.hex(), warm)
        self.warm = self._pool  # None while warm calls do not hold
        self._address = None if socket_path is None else str(socket_path)
        self._local: LocalSpawner | None = None
        self._stop_local: Callable[[], object] | None = None
        self._lock = threading.Lock()

    def self_test(self) -> SelfTest:
        """Run a probe inside the real confinement; see self_test.py.

        Warm calls that do not hold as well are left out until a later test, and that is said.
        """
        cold = run_self_test(self)
        pool = self._pool
        if pool is None or not cold.holds:
            return cold
        warm = run_self_test(_WarmAlone(self, pool))
        checks = [replace(check, name=f"warm: {check.name}", required=False) for check in warm.checks]
        checks += [_native(zygote.facts) for key, zygote in pool.held().items() if key.organization == SELF_TEST]
        pool.clear(None if not warm.holds else SELF_TEST)
        self.warm = pool if warm.holds else None
        return SelfTest((*cold.checks, *checks), is_whole=warm.holds)

    def start(self, spec: SandboxSpec) -> Run:
        if spec.environment is None or (spec.handler is None and spec.mode.is_call):
            raise SandboxError(
                "kind_not_supported",
                "The bubblewrap sandbox runs managed Python only; Dockerfile and image packages need Docker.",
            )
        tools = allow_root_tools(spec.needs)
        can_be_warm = spec.is_warm and spec.mode is Mode.CALL
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
            return BubblewrapRun(SpawnerChannel(connection, streams, *_read_answer(connection)), spec)
        except OSError as error:
            connection.close()
            raise OutageError(
                "spawner_lost", f"The spawner did not answer: {error}. It is started again by the platform; try again."
            ) from error
        except SandboxError:
            connection.close()
            raise

    def start_at_once(self, spec: SandboxSpec) -> Run | None:
        """In a warm slot whose worker has loaded the function already."""
        if self.warm is None or not spec.is_warm or spec.mode is not Mode.CALL:
            return None
        return self.warm.start_at_once(spec, allow_root_tools(spec.needs))

    def share(self, spec: SandboxSpec, handlers: Sequence[str]) -> SharedRun | None:
        """In a warm slot; None while warm calls do not hold here."""
        if self.warm is None or spec.environment is None or spec.mode is not Mode.CALL:
            return None
        return self.warm.share(spec, allow_root_tools(spec.needs), handlers)

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        """Runs here end with their worker: there is nothing to find."""
        del reference, seen
        return None

    def life(self) -> str:
        """The process that starts sandboxes; all that it started dies with it."""
        try:
            return str(listener_pid(self._address or self._own_address()))
        except OSError as error:
            raise unreachable(error) from error

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
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
            raise unreachable(error) from error
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
        spec = replace(spec, organization=SELF_TEST, is_warm=True)
        self.pool.make_ready(spec, ())
        run = self.pool.start(spec, ())
        if run is None:
            raise SandboxError("warm_sandbox_refused", "A warm sandbox has started, but took no call.")
        return run

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        return self.sandbox.find(reference, seen)


def unreachable(error: OSError) -> OutageError:
    return OutageError("spawner_unreachable", f"The process that starts sandboxes cannot be reached: {error}.")


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
        "limits": limits_to_ask(spec.limits),
    }


def _read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """The descriptor of the run's files, and what came after the first line."""
    raw, descriptors, _flags, _address = socket.recv_fds(connection, 65536, 1)
    while b"\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            raise OutageError("spawner_lost", "The spawner ended before it answered; its own log says why.")
        raw += piece
    line, _, rest = raw.partition(b"\n")
    answer = json.loads(line)
    if "error" in answer:
        kind = OutageError if answer.get("is_outage") else SandboxError
        raise kind("sandbox_not_started", f"The sandbox could not start: {answer['error']}")
    return descriptors[0], rest
