"""Asks the spawner for a control group around a process of ours that is no sandbox: what fetches requirements."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from mecapy_platform.core.errors import UnavailableError

ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class GroupLimits:
    """Of all processes of the group together."""

    memory_mb: int
    processes: int
    cpu: int


@dataclass(frozen=True)
class GroupUse:
    """How often the kernel killed for the group's memory or the machine's, or refused a process; the highest memory."""

    oom_kills: int = 0
    machine_kills: int = 0
    processes_refused: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True)
class SpawnedGroup:
    """Lives as long as the connection. `is_limited`: False where this machine gives the spawner no control groups."""

    connection: socket.socket
    is_limited: bool

    @classmethod
    def around(cls, spawner: Path, pid: int, limits: GroupLimits) -> Self:
        """Put a process, and with it all that it starts later, into a group of its own.

        Raises
        ------
        UnavailableError
            The spawner does not answer, or refuses.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            answer = _asked(connection, spawner, pid, limits)
        except OSError as error:
            connection.close()
            raise UnavailableError(
                "spawner_unreachable", f"The process that makes control groups cannot be reached: {error}."
            ) from error
        if "limited" not in answer:
            connection.close()
            why = answer.get("error")
            raise UnavailableError("spawner_refused", f"The spawner makes no control group: {why}.")
        return cls(connection, bool(answer["limited"]))

    def end(self) -> GroupUse | None:
        """Kill what is left in it, and remove it. None: the spawner has gone, and has taken all of it along."""
        with self.connection as connection:
            try:
                connection.shutdown(socket.SHUT_WR)
                return GroupUse(**_answer(connection)["used"])
            except (OSError, KeyError):
                return None


def _asked(connection: socket.socket, spawner: Path, pid: int, limits: GroupLimits) -> dict[str, Any]:
    connection.settimeout(ANSWER_SECONDS)
    connection.connect(str(spawner))
    process = os.pidfd_open(pid)
    try:
        socket.send_fds(connection, [json.dumps({"group": asdict(limits)}).encode() + b"\n"], [process])
    finally:
        os.close(process)
    return _answer(connection)


def _answer(connection: socket.socket) -> dict[str, Any]:
    raw = b""
    while not raw.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("the spawner ended before it answered")
        raw += piece
    answer: dict[str, Any] = json.loads(raw)
    return answer
