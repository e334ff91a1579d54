"""Who listens at a unix socket: so that a process that was started again is told from the one before it."""

import socket
import struct
from pathlib import Path

CREDENTIALS = struct.Struct("3i")
CONNECT_SECONDS = 5.0
DEAD = frozenset("ZX")  # states of a process that has ended, reaped or not


def listener_pid(address: str) -> int:
    """The process that listens there, 0 where it lives in another PID namespace.

    Raises OSError when nobody does. A socket outlives its listener for a moment in the processes that it forked:
    what is only theirs any more is nobody's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(address)
        said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, _uid, _gid = CREDENTIALS.unpack(said)
    if pid and _has_ended(pid):
        raise ConnectionRefusedError(f"process {pid}, which listened at {address}, has ended")
    return int(pid)


def _has_ended(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] in DEAD
