"""Who listens at a unix socket: so that a process that was started again is told from the one before it."""

import socket
import struct

CREDENTIALS = struct.Struct("3i")
CONNECT_SECONDS = 5.0


def listener_pid(address: str) -> int:
    """The process that listens there, 0 where it lives in another PID namespace. Raises OSError when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(address)
        said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, _uid, _gid = CREDENTIALS.unpack(said)
        return int(pid)
