"""What a run hears from those who hold it, and what it tells them: the spawner of a run of its own, or a warm slot."""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import Ended, EndReason
from mecapy_platform.sandbox.output_streams import PIECE, Streams


class Word(StrEnum):
    """What a run can ask for."""

    STOP = "stop"  # SIGTERM, the grace, SIGKILL
    KILL = "kill"


@dataclass(frozen=True)
class RunEnd:
    """The report of an end, see sandbox/endings; `only_result`: the result, where nothing else is left."""

    report: dict[str, Any]
    only_result: bytes | None = None


class Channel(Protocol):
    """One run's. It owns the descriptors of its run: two streams and the folder that holds what it writes."""

    @property
    def streams(self) -> Streams:
        """Where its output is read."""

    @property
    def top(self) -> int:
        """The folder."""

    def fileno(self) -> int:
        """Readable when there is something to hear."""

    def tell(self, word: Word) -> None:
        """Ask for an end; who is gone hears nothing."""

    def hear(self) -> RunEnd | None:
        """The end, once it is said whole. Also when whoever should say it is gone."""

    def close(self, ended: Ended | None) -> None:
        """Give everything back. None: it has not ended, and must not outlive this."""


class SpawnerChannel:
    """The spawner's connection for one run: closing it kills the run. `early`: what was read with its first answer."""

    def __init__(self, connection: socket.socket, streams: Streams, top: int, early: bytes) -> None:
        self.streams, self.top = streams, top
        self._connection = connection
        self._connection.setblocking(False)
        self._said = early
        self._started_at = time.monotonic()

    def fileno(self) -> int:
        return self._connection.fileno()

    def tell(self, word: Word) -> None:
        with suppress(OSError):
            self._connection.send(f"{word}\n".encode())

    def hear(self) -> RunEnd | None:
        try:
            piece = self._connection.recv(PIECE)
        except BlockingIOError:
            return None
        except OSError:
            piece = b""
        self._said += piece
        if b"\n" in self._said:
            return RunEnd(json.loads(self._said.partition(b"\n")[0])["ended"])
        return None if piece else RunEnd(machine_fault(self._started_at, endings.WATCHER_DIED))

    def close(self, ended: Ended | None) -> None:
        self._connection.setblocking(True)
        self._connection.settimeout(10)
        if ended is None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
                while self._connection.recv(PIECE):  # the spawner closes once everything is dead
                    pass
        self._connection.close()
        for fd in (self.streams.stdout, self.streams.stderr, self.top):
            os.close(fd)


def machine_fault(started_at: float, detail: str) -> dict[str, Any]:
    """The report of an end that nobody else reports; `started_at` on the monotonic clock."""
    return {"reason": EndReason.MACHINE, "wall_seconds": time.monotonic() - started_at, "detail": detail}
