"""Runs inside the building sandbox.

Listens on its loopback and forwards to the proxy's unix socket, then starts the given command.

Standard library only; started as a file by an interpreter of the package. Usage: index_forward.py SOCKET COMMAND [ARG
..]
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading


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
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, sys.argv[1]), daemon=True).start()
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return subprocess.call(
        sys.argv[2:], env={**os.environ, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "ALL_PROXY": proxy}
    )


if __name__ == "__main__":
    sys.exit(main())
