"""Who is at the other end of a unix socket, as the kernel says.

So is a process that was started again told from the one before it, and who may ask from who may not.
"""

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
CONNECT_SECONDS = 5.0
DEAD = frozenset("ZX")  # states of a process that has ended, reaped or not


@dataclass(frozen=True)
class Peer:
    """A process as it was when it connected or began to listen; `pid` 0 where it lives in another PID namespace."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    pid, uid, _gid = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return Peer(pid, uid)


def listener_pid(address: str) -> int:
    """The process that listens there, 0 where it lives in another PID namespace.

    Raises OSError when nobody does. A socket outlives its listener for a moment in the processes that it forked:
    what is only theirs any more is nobody's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(address)
        pid = peer_of(connection).pid
    if pid and _has_ended(pid):
        raise ConnectionRefusedError(f"process {pid}, which listened at {address}, has ended")
    return pid


def _has_ended(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] in DEAD
