"""The child that becomes bwrap: forked ahead, already in its control groups, it waits for one order and executes it."""

import json
import os
import resource
import signal
import socket
from dataclasses import asdict, dataclass

from mecapy_platform.sandbox.spawner import command, system


@dataclass(frozen=True)
class Order:
    """What to execute and as whom (`uid` None: stay the user we are)."""

    argv: list[str]
    uid: int | None
    processes: int
    open_files: int
    file_bytes: int


class BwrapChild:
    """The parent's side: `start` hands over the order and the descriptors the run will have as 0 to 5."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                system.die_with(parent)
                _wait_and_execute(theirs, parent)
            finally:
                os._exit(127)
        theirs.close()
        self._socket = ours

    def start(self, order: Order, descriptors: list[int]) -> None:
        raw = json.dumps(asdict(order)).encode()
        socket.send_fds(self._socket, [len(raw).to_bytes(4, "big")], descriptors)
        self._socket.sendall(raw)
        self._socket.close()


def _wait_and_execute(channel: socket.socket, parent: int) -> None:
    head, descriptors, _flags, _address = socket.recv_fds(channel, 4, 8)
    if len(head) < 4:
        return
    wanted = int.from_bytes(head, "big")
    raw = b""
    while len(raw) < wanted:
        piece = channel.recv(wanted - len(raw))
        if not piece:
            return
        raw += piece
    order = Order(**json.loads(raw))
    _take_descriptors(descriptors)
    try:
        _become_and_execute(order, parent)
    except OSError as error:
        os.write(2, f"the sandbox could not start: {error}\n".encode())


def _become_and_execute(order: Order, parent: int) -> None:
    _limit(order)
    if order.uid is not None:
        os.setgroups([])
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
    if os.geteuid() == 0:
        os.write(2, b"refused: a sandbox is never started as root\n")
        return
    system.die_with(parent)  # again: a change of user clears it
    os.umask(0o022)
    os.execve(order.argv[0], order.argv, {})  # noqa: S606 - no shell is the point


def _take_descriptors(descriptors: list[int]) -> None:
    """Give the run exactly these, as /dev/null, stdout, stderr, control, status, filter; everything else is closed."""
    high = [os.dup2(fd, 100 + index) for index, fd in enumerate(descriptors)]
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    for index, fd in enumerate(high, start=1):
        os.dup2(fd, index)
    os.closerange(command.SECCOMP_FD + 1, 4096)


def _limit(order: Order) -> None:
    for kind, value in (
        (resource.RLIMIT_NPROC, order.processes),
        (resource.RLIMIT_NOFILE, order.open_files),
        (resource.RLIMIT_FSIZE, order.file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 65536),
        (
            resource.RLIMIT_SIGPENDING,
            4096,
        ),  # POSIX timers too: kernel memory that a user of several sandboxes would share
    ):
        _soft, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
