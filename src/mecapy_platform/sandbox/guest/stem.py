"""One slot of a warm sandbox in Python, for machines on which csource/slot.c was not built.

The same messages and the same order.

A worker is made ahead of each call, followed to its end, and used once. When it has ended, everything in its PID
namespace is dead before the end is said.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time

from _mecapy_guest import confine, fallback, quickjson, readable

READY = b"ready"
MESSAGE_BYTES = 256
FIRST_NOT_INHERITED, FIRST_FREE_FD = 3, 5


class CallProcess:
    """A worker that waits for its order, or runs it: its process, the first process of its namespace, its workspace."""

    def __init__(self, pid: int, init: int, init_pidfd: int, top: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.init = init
        self.init_pidfd = init_pidfd
        self.top = top

    def kill(self) -> None:
        """End the namespace: every process in it is dead when this returns."""
        signal.pidfd_send_signal(self.init_pidfd, signal.SIGKILL)

    def forget(self) -> None:
        for descriptor in (self.pidfd, self.init_pidfd, self.top):
            os.close(descriptor)


class CallRequests:
    """What was asked of the running call: its time limit, a stop, an end."""

    def __init__(self) -> None:
        self.reason = "exited"
        self.started_at = time.monotonic()
        self.grace_seconds = 0.0
        self.limit_seconds = 0.0
        self.stop_at: float | None = None
        self.kill_at: float | None = None


def serve_slot(descriptor: int) -> bool:
    """See native.serve_slot."""
    channel = socket.socket(fileno=descriptor)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    serial = 0
    goes_on = True
    while goes_on:
        worker = prepare(channel, home)
        if worker is None:
            return True
        serial += 1
        watch = CallRequests()
        goes_on = follow(channel, worker, watch, serial)
        end = finish(worker, watch)
        if goes_on:
            channel.send(quickjson.dumps({"ended": end, "serial": serial, "is_all": False}).encode())
            fallback.renew_used_network()
    return False


def prepare(channel: socket.socket, home: int) -> CallProcess | None:
    """Fork a worker and hand its ends to the platform: order channel, stdout, stderr, workspace. None in the worker."""
    order_ours, order_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report_ours, report_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    init, init_pidfd = fallback.begin()
    pid = os.fork()
    if pid == 0:
        _become_worker(report_theirs, order_theirs.detach(), out_write, err_write)
        return None
    fallback.return_to(home)
    order_theirs.close()
    report_theirs.close()
    os.close(out_write)
    os.close(err_write)
    with report_ours:
        said, tops, _flags, _address = socket.recv_fds(report_ours, 1024, 1)
    if not tops:
        raise OSError(f"a worker could not be made: {said.decode('utf-8', 'replace') or 'it died'}")
    with order_ours:
        socket.send_fds(channel, [READY], [order_ours.fileno(), out_read, err_read, tops[0]])
    os.close(out_read)
    os.close(err_read)
    return CallProcess(pid, init, init_pidfd, tops[0])


def _become_worker(report: socket.socket, *outer: int) -> None:
    """Confine, report the workspace, and put the descriptors where a worker has them."""
    try:
        top = fallback.enter()
        data = os.open("/mnt/in/data.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        report.send(str(error).encode())
        raise
    confine.prefer_for_oom()
    os.setsid()  # a signal to its own group must not reach the stem
    socket.send_fds(report, [b"made"], [top])
    orders, out, err = outer
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64) for descriptor in (out, err, orders, data)]
    report.detach()
    for place, descriptor in enumerate(high, start=1):
        os.dup2(descriptor, place, inheritable=place < FIRST_NOT_INHERITED)
    os.closerange(FIRST_FREE_FD, 4096)


def follow(channel: socket.socket, worker: CallProcess, watch: CallRequests, serial: int) -> bool:
    """Return when the worker has ended or must; False when nobody listens any more."""
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    poller.register(worker.pidfd, select.POLLIN)
    while True:
        due = [moment for moment in (watch.stop_at, watch.kill_at) if moment is not None]
        wait_ms = None if not due else max(0, int((min(due) - time.monotonic()) * 1000) + 1)
        ready = {descriptor for descriptor, _events in poller.poll(wait_ms)}
        if worker.pidfd in ready:
            return True
        if channel.fileno() in ready:
            said = channel.recv(MESSAGE_BYTES)
            if not said:
                return False
            if not _obey(said.split(), worker, watch, serial):
                return True
        now = time.monotonic()
        if watch.stop_at is not None and now >= watch.stop_at:
            watch.reason = "timeout"
            _ask_to_stop(worker, watch)
        if watch.kill_at is not None and now >= watch.kill_at:
            return True


def finish(worker: CallProcess, watch: CallRequests) -> dict[str, object]:
    """Kill what is left, wait for all of it, then make the outputs readable."""
    worker.kill()
    _pid, status, used = os.wait4(worker.pid, 0)
    _init, _status, by_init = os.wait4(worker.init, 0)
    wall_seconds = time.monotonic() - watch.started_at
    _open_to_reader(worker.top)
    worker.forget()
    code = os.waitstatus_to_exitcode(status)
    return {
        "reason": watch.reason,
        "exit_code": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "wall_seconds": wall_seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime + by_init.ru_utime + by_init.ru_stime,
        "peak_bytes": max(used.ru_maxrss, by_init.ru_maxrss) * 1024,
    }


def _open_to_reader(top: int) -> None:
    """In a child that is thrown away: the next call is a fork of this process, and must not find the names."""
    pid = os.fork()
    if pid == 0:
        try:
            readable.open_to_reader(top)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _obey(words: list[bytes], worker: CallProcess, watch: CallRequests, serial: int) -> bool:
    """`run N LIMIT GRACE`, `stop N`, `kill N`, each meant for the call number N; False: it must end now."""
    if int(words[1]) != serial:
        return True
    if words[0] == b"run":
        watch.started_at = time.monotonic()
        watch.limit_seconds, watch.grace_seconds = float(words[2]), float(words[3])
        watch.stop_at = watch.started_at + watch.limit_seconds
    elif words[0] == b"stop":
        watch.reason = "stopped"
        _ask_to_stop(worker, watch)
    elif words[0] == b"kill":
        watch.reason = "stopped"
        return False
    return True


def _ask_to_stop(worker: CallProcess, watch: CallRequests) -> None:
    """SIGTERM to all of it: the first process passes it on."""
    if watch.kill_at is None:
        watch.kill_at = time.monotonic() + watch.grace_seconds
        watch.stop_at = None
        signal.pidfd_send_signal(worker.init_pidfd, signal.SIGTERM)
