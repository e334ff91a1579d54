"""The folder of one worker process, below a place that others may share: machines, containers, earlier starts.

Its name never comes twice, and who made it holds a lock on it: a folder whose lock can be had belongs to nobody.
"""

import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

LOCK = "owner.lock"
UNLOCKED_SECONDS = 30 * 24 * 3600.0  # folders of versions that took no lock, named by a number alone


@dataclass(frozen=True)
class WorkFolder:
    """`path` exists; the lock is held until this process ends, however it ends."""

    path: Path
    descriptor: int

    @classmethod
    def make(cls, parent: Path) -> "WorkFolder":
        while True:
            path = parent / str(uuid4())
            path.mkdir(parents=True)
            descriptor = _take(path / LOCK, os.O_CREAT)
            if descriptor is not None:
                return cls(path, descriptor)
            # somebody who looks for leftovers was faster, and removes it or has removed it

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.descriptor)


def remove_leftovers(parent: Path) -> None:
    """Folders of attempts whose worker process is provably gone: the kernel has given its lock back."""
    for left in parent.iterdir() if parent.is_dir() else ():
        if left.name.isdigit():
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > UNLOCKED_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
            continue
        descriptor = _take(left / LOCK)
        if descriptor is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(descriptor)


def _take(path: Path, flags: int = 0) -> int | None:
    """The lock's descriptor, None where somebody holds it, there is none, or it was removed before it was locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
