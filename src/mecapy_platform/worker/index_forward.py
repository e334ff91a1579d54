"""Runs inside the building sandbox.

Listens on its loopback and forwards to the proxy's unix socket, then starts the given command.

Standard library only; started as a file by an interpreter of the package. Usage: index_forward.py SOCKET COMMAND [ARG
..]
"""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading

MOST = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_DATA: 4 << 30,
    resource.RLIMIT_FSIZE: 8 << 30,
    resource.RLIMIT_NOFILE: 8192,
    resource.RLIMIT_NPROC: 1024,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_MEMLOCK: 65536,
}


def limit() -> None:
    """Before anything that comes from the index is read: what may be used of the machine."""
    for kind, most in MOST.items():
        _soft, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def serve(listener: socket.socket, path: str) -> None:
    while True:
        inside, _ = listener.accept()
        outside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            outside.connect(path)
        except OSError:
            inside.close()
            continue
        threading.Thread(target=copy, args=(inside, outside), daemon=True).start()
        threading.Thread(target=copy, args=(outside, inside), daemon=True).start()


def main() -> int:
    limit()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, sys.argv[1]), daemon=True).start()
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    code = subprocess.call(
        sys.argv[2:], env={**os.environ, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "ALL_PROXY": proxy}
    )
    return code if code >= 0 else 128 - code  # as shells say that a signal ended it: whoever reads that must know


if __name__ == "__main__":
    sys.exit(main())
