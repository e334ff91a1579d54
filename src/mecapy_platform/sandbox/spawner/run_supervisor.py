"""One run from order to last process: start it, watch its limits, end its whole tree, tell the worker what was used."""

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field

from mecapy_platform.sandbox.guest.readable import open_to_reader
from mecapy_platform.sandbox.served_part import may_ask
from mecapy_platform.sandbox.spawner import adopted, cgroups, command, system, workspace
from mecapy_platform.sandbox.spawner.bwrap_child import BwrapChild, Order
from mecapy_platform.sandbox.spawner.config import (
    MAX_REQUEST_BYTES,
    GroupRequest,
    Request,
    RequestError,
    SpawnerConfig,
    WarmRequest,
    parse_order,
)
from mecapy_platform.sandbox.spawner.tree import kill_below, tree_memory_bytes
from mecapy_platform.sandbox.spawner.zygote_keeper import Keeper, Parts
from mecapy_platform.sandbox.syscalls import bpf

SAMPLE_SECONDS = 0.1
TAKEN = b"\0"  # to the server: this supervisor has a run
OWN_PROCESSES = 3  # bwrap outside, bwrap's helper, the guest's init
GENERATIONS = 1 + OWN_PROCESSES  # of ours above the user's: the stem before them


@dataclass
class RunWatch:
    """What is known of the run so far."""

    started_at: float = 0.0
    reason: str = "exited"
    status: dict[str, int] = field(default_factory=dict)
    kill_at: float | None = None
    stop_asked: bool = False
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    disk_over: str = ""  # "bytes" or "files", once there is room for no more
    left: int = 0  # processes and threads that still were when the user's own one had failed


class RunSupervisor:
    """Prepared ahead (groups joined, namespace entered, stem forked), used for one connection."""

    def __init__(self, config: SpawnerConfig, base: cgroups.CgroupBase, name: str, uid: int | None) -> None:
        self._config = config
        self._uid = uid
        self._watch = RunWatch()
        self._stem_is_dead = False
        self._control: int | None = None
        self._status = -1
        self._oom: int | None = None
        system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
        self._wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._stopping: list[bool] = []
        signal.signal(signal.SIGTERM, lambda *_: self._stopping.append(True))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        system.private_mounts(with_user_namespace=uid is None)
        self._base, self._name = base, name
        self._group = cgroups.RunCgroup(base, name)
        self._stem = BwrapChild()
        self._group.join(self._stem.pid)

    def serve(self, listener: socket.socket, taken_fd: int, point: str, etc: str) -> None:
        try:
            place = workspace.Workspace(point)
            connection = self._accept(listener)
            os.write(taken_fd, TAKEN)
            if connection is not None:
                with connection:
                    self._serve_one(connection, place, etc)
        finally:
            self._kill_all()
            self._group.remove()

    def _accept(self, listener: socket.socket) -> socket.socket | None:
        listener.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stopping:
                selector.select()
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                with contextlib.suppress(BlockingIOError):
                    connection, _address = listener.accept()
                    connection.setblocking(True)
                    return connection
        return None

    def _serve_one(self, connection: socket.socket, place: workspace.Workspace, etc: str) -> None:
        try:
            _check_asker(connection, self._config.owner_uid)
            connection.settimeout(10)
            raw, descriptors = _receive(connection)
            request = parse_order(raw, self._config.roots)
            if isinstance(request, WarmRequest):
                self._keep(connection, request, place, etc)
                return
            if isinstance(request, GroupRequest):
                self._hold(connection, request, descriptors)
                return
            top = self._start(request, descriptors, place, etc)
        except (RequestError, OSError, ValueError) as error:
            _send(connection, {"error": str(error)})
            return
        socket.send_fds(connection, [b'{"started": %d}\n' % self._stem.pid], [top])
        self._follow(connection, request, top)
        self._kill_all()
        self._look_at_disk(top)
        self._open_outputs(top)
        with contextlib.suppress(OSError):
            _send(connection, {"ended": self._describe_end(request)})

    def _keep(self, connection: socket.socket, request: WarmRequest, place: workspace.Workspace, etc: str) -> None:
        """Stay with a warm sandbox until its pool lets it go."""
        parts = Parts(
            self._config, self._base, self._name, self._uid, self._group, self._stem, place, etc, self._wake_read
        )
        keeper = Keeper(parts, request)
        try:
            keeper.start(connection)
            keeper.serve(connection, self._stopping)
        finally:
            self._kill_all()
            keeper.remove()

    def _hold(self, connection: socket.socket, request: GroupRequest, descriptors: list[int]) -> None:
        """Give a process of the owner's our group, and stay until the owner has done with it."""
        with adopted.process_of(descriptors, self._config.owner_uid) as process:
            try:
                _send(connection, {"limited": adopted.limit_and_join(self._group, request, process)})
                adopted.wait_for_end(connection, self._wake_read, self._stopping)
                used = adopted.describe_use(self._group)
            finally:
                self._group.kill()
        with contextlib.suppress(OSError):
            _send(connection, {"used": used})

    def _start(self, request: Request, descriptors: list[int], place: workspace.Workspace, etc: str) -> int:
        if len(descriptors) != 2:
            raise RequestError("a request comes with two descriptors: stdout and stderr")
        limits = request.limits
        top = place.make_files(limits, self._uid)
        self._group.limit(
            memory_bytes=limits.memory_mb << 20,
            processes=limits.processes + OWN_PROCESSES,
            cpu=limits.cpu,
            cpu_weight=limits.cpu_weight,
        )
        control_read, self._control = os.pipe2(os.O_CLOEXEC)
        self._status, status_write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._status, False)
        reach, reach_program = (place.reach, place.reach_program) if self._uid is not None else (str, str)
        places = command.Places(reach_program(self._config.bwrap), place.files, etc)
        order = Order(
            argv=command.bwrap_command(request, places, reach),
            uid=self._uid,
            processes=limits.processes
            + OWN_PROCESSES * (1 if self._group.version == 0 else 8),  # the group refuses first: it counts that
            open_files=limits.open_files,
            file_bytes=limits.disk_bytes + (1 << 20),  # a full disk answers first, and says what it is
        )
        self._oom = self._group.watch_oom()
        filter_fd = bpf.filter_descriptor(bpf.PROGRAM)
        self._watch.started_at = time.monotonic()
        self._stem.start(order, [*descriptors, control_read, status_write, filter_fd])
        for fd in (*descriptors, control_read, status_write, filter_fd):
            os.close(fd)
        return top

    def _follow(self, connection: socket.socket, request: Request, top: int) -> None:
        """Wait for the end, whatever brings it: the run itself, a limit, the worker's word or the worker's death."""
        watch, limits = self._watch, request.limits
        deadline = watch.started_at + limits.timeout_seconds
        polls = self._group.version == 0
        with selectors.DefaultSelector() as selector:
            for fd in (connection.fileno(), self._wake_read, self._status, *([] if self._oom is None else [self._oom])):
                selector.register(fd, selectors.EVENT_READ)
            while not self._stopping:
                now = time.monotonic()
                if watch.kill_at is None and now >= deadline:
                    watch.reason = "timeout"
                    self._ask_to_stop(limits.grace_seconds)
                if watch.kill_at is not None and now >= watch.kill_at:
                    return
                pause = SAMPLE_SECONDS if polls or self._group.was_told_lately() else 1.0
                until = min(deadline if watch.kill_at is None else watch.kill_at, now + pause)
                ready = {key.fd for key, _mask in selector.select(max(0.0, until - now))}
                if self._status in ready and self._read_status(selector):
                    return
                if connection.fileno() in ready and not self._obey(connection, limits.grace_seconds):
                    return
                if self._memory_is_over(limits.memory_mb, ready, top, polls=polls):
                    return
                self._look_at_disk(top)
                if self._wake_read in ready and self._is_dead(selector):
                    return

    def _obey(self, connection: socket.socket, grace_seconds: float) -> bool:
        """False when the run must die now: the worker is gone, or said so."""
        try:
            word = connection.recv(64)
        except OSError:
            return False
        if not word or b"kill" in word:
            self._watch.reason = "stopped"
            return False
        if b"stop" in word and not self._watch.stop_asked:
            self._watch.reason = "stopped"
            self._ask_to_stop(grace_seconds)
        return True

    def _ask_to_stop(self, grace_seconds: float) -> None:
        self._watch.stop_asked = True
        self._watch.kill_at = time.monotonic() + grace_seconds
        with contextlib.suppress(OSError):
            os.write(self._control or -1, b"T")

    def _read_status(self, selector: selectors.BaseSelector) -> bool:
        """True when the guest's init has reported how the user's process ended."""
        raw = os.read(self._status, 4096)
        if not raw:
            selector.unregister(self._status)
            return False
        kind, number, *left = [*raw.decode("ascii", "replace").split(), "", ""][:3]
        if kind in {"exit", "signal"} and number.isdigit():
            self._watch.status = {kind: int(number)}
            self._watch.left = int(left[0]) if left[0].isdigit() else 0
        return True

    def _memory_is_over(self, memory_mb: int, ready: set[int], top: int, *, polls: bool) -> bool:
        watch = self._watch
        if polls:
            disk = os.fstatvfs(top)
            memory_bytes = tree_memory_bytes(self._stem.pid) + (disk.f_blocks - disk.f_bfree) * disk.f_frsize
            watch.peak_bytes = max(watch.peak_bytes, memory_bytes)
            over = memory_bytes > memory_mb << 20
        else:
            if self._oom in ready:
                self._group.hear_oom()
            over = (self._group.was_told_lately() or self._group.version == 2) and self._group.memory_kills().own > 0
        if over:
            watch.reason = "out_of_memory"
        return over

    def _look_at_disk(self, top: int) -> None:
        seen = os.fstatvfs(top)
        if seen.f_bavail * seen.f_frsize < 1 << 16:
            self._watch.disk_over = "bytes"
        elif seen.f_favail == 0:
            self._watch.disk_over = "files"

    def _is_dead(self, selector: selectors.BaseSelector) -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while self._reap(os.WNOHANG)[0] > 0:
            pass
        if self._stem_is_dead and not self._watch.status:
            with contextlib.suppress(BlockingIOError, KeyError):
                self._read_status(selector)
        return self._stem_is_dead

    def _reap(self, flags: int) -> tuple[int, int]:
        """Wait for one process of ours, and add what it used."""
        try:
            pid, status, used = os.wait4(-1, flags)
        except ChildProcessError:
            return -1, 0
        if pid == self._stem.pid:
            self._stem_is_dead = True
        if pid > 0:
            self._watch.cpu_seconds += used.ru_utime + used.ru_stime
            self._watch.peak_bytes = max(self._watch.peak_bytes, used.ru_maxrss * 1024)
        return pid, status

    def _kill_all(self) -> None:
        """Kill the stem, bwrap and the namespace's init, and with that all below it. Returns when none is left.

        All at once: one after the other, each would have to die before the next, beside hundreds that take the group's
        CPU meanwhile.
        """
        if not self._watch.status:
            self._group.free_cpu()
        if self._control is not None:
            os.close(self._control)
            self._control = None
        waiting = select.poll()
        waiting.register(self._wake_read, select.POLLIN)
        while True:
            kill_below(os.getpid(), GENERATIONS)
            pid, _status = self._reap(os.WNOHANG)
            if pid < 0:
                return
            if pid == 0:  # not gone yet: its last signal wakes us
                waiting.poll(20)
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)

    def _open_outputs(self, top: int) -> None:
        """As the run's user, not as root: make the outputs readable through the worker's descriptor."""
        if self._uid is None:
            open_to_reader(top)
            return
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setresgid(self._uid, self._uid, self._uid)
                os.setresuid(self._uid, self._uid, self._uid)
                open_to_reader(top)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    def _describe_end(self, request: Request) -> dict[str, object]:
        """Numbers and closed words; sandbox/endings.py has the sentences."""
        watch, limits = self._watch, request.limits
        has_group = self._group.version != 0
        refused, found = self._group.pids_refused(), dict[str, object]()
        kills = self._group.memory_kills()
        if watch.reason == "exited" and kills.own > 0:
            watch.reason = "out_of_memory"
        failed = watch.reason == "exited" and watch.status.get("exit") != 0
        if watch.reason == "out_of_memory" and not has_group:
            found["sampled_seconds"] = SAMPLE_SECONDS
        elif failed and kills.others:
            watch.reason, found["short_of"] = "machine", "memory"
        elif failed and watch.disk_over:
            watch.reason, found["over"] = "disk_limit", watch.disk_over
        elif failed and (refused or (not has_group and watch.left >= limits.processes - 1)):
            watch.reason, found["refused"], found["left"] = "process_limit", refused, watch.left
        elif failed and not watch.status:
            watch.reason = "machine"
        return {
            "reason": watch.reason,
            **found,
            "exit_code": watch.status.get("exit"),
            "signal": watch.status.get("signal"),
            "wall_seconds": time.monotonic() - watch.started_at,
            "cpu_seconds": self._group.cpu_seconds() or watch.cpu_seconds,
            "peak_bytes": self._group.peak_bytes() or watch.peak_bytes,
        }


def _check_asker(connection: socket.socket, owner_uid: int) -> None:
    if not may_ask(connection, owner_uid):
        raise RequestError("this user may not start sandboxes")


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One line of JSON with its descriptors."""
    raw, descriptors, _flags, _address = socket.recv_fds(connection, 65536, 4)
    while not raw.endswith(b"\n"):
        piece = connection.recv(65536)
        raw += piece
        if not piece or len(raw) > MAX_REQUEST_BYTES:
            raise RequestError("the request is not one line of JSON below 1 MiB")
    return raw, descriptors


def _send(connection: socket.socket, message: dict[str, object]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")
