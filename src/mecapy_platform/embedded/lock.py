"""The lock on a data directory: one launcher at a time; the second one hears who holds it and where."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mecapy_platform.core.errors import ConflictError


@dataclass(frozen=True)
class Holder:
    pid: int
    url: str


class DataLock:
    """Held by an open descriptor, so the kernel frees it however the launcher ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            known = holder(path)
            who = f"pid {known.pid}" if known else "a process that is still starting"
            where = f", at {known.url}" if known and known.url else ""
            raise ConflictError(
                "data_directory_held",
                f"{path.parent} is held by {who}{where}. Use that platform, stop it, or start another with --data DIR.",
            ) from None
        lock = cls(path, descriptor)
        lock.note("")
        return lock

    def note(self, url: str) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def release(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def holder(path: Path) -> Holder | None:
    """Who holds the lock, as noted by the holder; None when nobody does."""
    try:
        with path.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                known = json.loads(stream.read())
                return Holder(int(known["pid"]), str(known["url"]))
    except (OSError, ValueError, KeyError):
        return None
    return None
