"""The spawner's main loop: it keeps a few supervisors ready; each accepts one connection, runs one sandbox and ends."""

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from mecapy_platform.sandbox.root.etc import write_etc
from mecapy_platform.sandbox.served_part import read_arguments
from mecapy_platform.sandbox.spawner import cgroups, system
from mecapy_platform.sandbox.spawner.config import SpawnerConfig
from mecapy_platform.sandbox.spawner.run_supervisor import TAKEN, RunSupervisor

RETRY_SECONDS = 1.0
END_SECONDS = 5.0  # then a supervisor is killed, and its run with it


def main() -> None:
    """Serve until told to stop (SIGTERM), or until the lifeline's other end is gone."""
    told = read_arguments("spawner")
    os.umask(0o022)  # what it makes are places to mount on and files that sandboxes read; its socket says its own mode
    config = SpawnerConfig.from_json(told.config)
    Server(config, told.listen(config.owner_uid), told.lifeline).serve()


class Server:
    def __init__(self, config: SpawnerConfig, listener: socket.socket, lifeline: int | None) -> None:
        self._config = config
        self._listener = listener
        self._lifeline = lifeline
        self._is_root = os.geteuid() == 0
        self._idle: dict[int, int] = {}  # descriptor that tells "taken" -> pid
        self._slots: dict[int, int] = {}  # pid -> slot
        self._names: dict[int, str] = {}  # pid -> name of its control groups
        self._count = 0
        self._broken_until: float | None = None
        self._fault = ""
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        self._prepare()
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        stopping = []
        signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake_read, selectors.EVENT_READ)
        if self._lifeline is not None:
            self._selector.register(self._lifeline, selectors.EVENT_READ)
        self._fill()
        while not stopping:
            for key, _mask in self._selector.select(None if self._broken_until is None else 0.1):
                fd = key.fd
                if fd == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                elif fd == self._lifeline:
                    stopping.append(True)
                elif fd == self._listener.fileno():
                    self._refuse_one()
                else:
                    self._was_taken(fd)
            self._reap()
            self._fill()
        self._end()

    def _prepare(self) -> None:
        config = self._config
        self._directory = _reachable_directory(config) if self._is_root else config.directory
        point = Path(self._directory) / "point"
        point.mkdir(parents=True, exist_ok=True)
        self._point = str(point)
        self._etc = str(Path(self._directory) / "etc")
        write_etc(Path(self._etc))
        self._base = cgroups.find_base(f"mecapy-{config.name}")
        cgroups.remove_stale(self._base)
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def _fill(self) -> None:
        """Keep `idle` supervisors ready as long as slots (one host uid each) are free."""
        if self._broken_until is not None and time.monotonic() < self._broken_until:
            return
        if self._broken_until is not None:
            self._broken_until = None
            self._selector.unregister(self._listener)
        while len(self._idle) < self._config.idle and len(self._slots) < self._config.slots:
            used = set(self._slots.values())
            self._spawn(next(slot for slot in range(self._config.slots) if slot not in used))

    def _spawn(self, slot: int) -> None:
        taken_read, taken_write = os.pipe2(os.O_CLOEXEC)
        self._count += 1
        parent = os.getpid()
        name = f"run-{parent}-{self._count}"
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until the child has its own handler
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                self._selector.close()
                system.die_with(parent)
                uid = self._config.slot_uid_base + slot if self._is_root else None
                supervisor = RunSupervisor(self._config, self._base, name, uid)
                supervisor.serve(self._listener, taken_write, self._point, self._etc)
                code = 0
            except Exception as error:  # noqa: BLE001 - the child's last words, then it ends
                sys.stderr.write(f"spawner: supervisor of slot {slot} ended: {error!r}\n")
                os.write(taken_write, f"this machine cannot prepare a sandbox: {error}".encode())
            finally:
                sys.stderr.flush()
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.close(taken_write)
        self._idle[taken_read] = pid
        self._slots[pid] = slot
        self._names[pid] = name
        self._selector.register(taken_read, selectors.EVENT_READ)

    def _was_taken(self, fd: int) -> None:
        """A supervisor has its run, or ended before.

        Then whoever connects is told why, and another try follows later.
        """
        said = os.read(fd, 4096)
        self._selector.unregister(fd)
        os.close(fd)
        self._idle.pop(fd, None)
        if not said.startswith(TAKEN) and self._broken_until is None:
            self._fault = said.decode("utf-8", "replace") or "a supervisor died before its first run"
            self._broken_until = time.monotonic() + RETRY_SECONDS
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _refuse_one(self) -> None:
        with contextlib.suppress(OSError):
            connection, _address = self._listener.accept()
            with connection:
                connection.settimeout(1)
                connection.recv(65536)
                connection.sendall(json.dumps({"error": self._fault, "is_outage": True}).encode() + b"\n")

    def _reap(self) -> None:
        while self._slots:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._slots.pop(pid, None)
            name = self._names.pop(pid, None)
            if status != 0 and name is not None:  # killed: it could not take its groups away
                cgroups.remove_stale(self._base, name)

    def _end(self) -> None:
        """Closing every supervisor closes its runs: each is told to die with us, and its run with it."""
        deadline = time.monotonic() + END_SECONDS
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._slots:
                os.kill(pid, number)
            while self._slots and (number == signal.SIGKILL or time.monotonic() < deadline):
                self._reap()
                time.sleep(0.005)
        cgroups.remove_stale(self._base)
        for folder in self._base.folders.values():
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        if self._is_root and self._directory != self._config.directory:
            with contextlib.suppress(OSError):
                Path(self._point).rmdir()


def _reachable_directory(config: SpawnerConfig) -> str:
    """The configured folder if every user may pass through its parents, else one below /run."""
    path = Path(config.directory).resolve()
    path.mkdir(parents=True, exist_ok=True)
    if all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents)):
        return str(path)
    fallback = Path("/run") / f"mecapy-{config.name}"
    fallback.mkdir(mode=0o755, exist_ok=True)
    return str(fallback)
