"""Host uids for one instance that root started.

A block of its own, held by a lock, so that two instances never share a user.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.embedded.users import User, current

# Above the range that systemd-nspawn hands out, below the signed limit
FIRST_UID = 1_900_000_000
BLOCK = 512
BLOCKS = 4096
SMALL_FIRST_UID = 20_000  # inside a container that maps few uids
SLOTS = 480
REGISTRIES = (Path("/run/mecapy"), Path("/var/lib/mecapy"))


@dataclass(frozen=True)
class Users:
    """Who runs what.

    `slots` are the uids of running sandboxes; empty when an ordinary user started us: then all are one.
    """

    database: User
    service: User
    slots: tuple[int, ...] = ()
    block: int | None = None
    lock: int | None = None  # descriptor that holds the block

    def passwd(self, original: str) -> str:
        return (
            original.rstrip("\n")
            + "".join(
                f"\n{user.name}:x:{user.uid}:{user.uid}:MecaPy:/nonexistent:/usr/sbin/nologin" for user in self._all()
            )
            + "\n"
        )

    def group(self, original: str) -> str:
        return original.rstrip("\n") + "".join(f"\n{user.name}:x:{user.uid}:" for user in self._all()) + "\n"

    def _all(self) -> tuple[User, ...]:
        return (
            self.database,
            self.service,
            *(User(f"mecapy-slot-{index}", uid) for index, uid in enumerate(self.slots)),
        )


def ordinary() -> Users:
    """Everything runs as whoever started us."""
    return Users(current(), current())


def allocate(preferred: int | None) -> Users:
    """Take the block that the data directory already belongs to, else a random free one."""
    first, blocks = _range()
    for block in _candidates(preferred, blocks):
        lock = _lock(block)
        if lock is not None:
            base = first + block * BLOCK
            slots = tuple(range(base + 16, base + 16 + SLOTS))
            return Users(User("mecapy-db", base), User("mecapy", base + 1), slots, block, lock)
    raise ConfigurationError(
        "no_free_users", "Every block of host uids for MecaPy is in use on this machine. Stop another instance first."
    )


def move_owner(root: Path, old: Users, new: Users) -> None:
    """Hand a data directory over to another block: each file of an old user to the new one of the same role."""
    change = {old.database.uid: new.database.uid, old.service.uid: new.service.uid}
    for directory, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            path = Path(directory, name)
            with suppress(FileNotFoundError):
                uid = path.lstat().st_uid
                if uid in change:
                    os.chown(path, change[uid], change[uid], follow_symlinks=False)


def at_block(block: int) -> Users:
    """The users of a block, without its lock."""
    base = _range()[0] + block * BLOCK
    return Users(User("mecapy-db", base), User("mecapy", base + 1), block=block)


def _range() -> tuple[int, int]:
    """The first uid and the number of blocks that this user namespace can hold."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, _, count = (int(part) for part in line.split())
        if inside + count >= FIRST_UID + BLOCK * BLOCKS:
            return FIRST_UID, BLOCKS
        if inside + count >= SMALL_FIRST_UID + 4 * BLOCK:
            return SMALL_FIRST_UID, min(BLOCKS, (inside + count - SMALL_FIRST_UID) // BLOCK)
    raise ConfigurationError(
        "few_users", "Started as root of a user namespace that has too few uids. Start it as an ordinary user instead."
    )


def _candidates(preferred: int | None, blocks: int) -> Iterator[int]:
    if preferred is not None and preferred < blocks:
        yield preferred
    for _ in range(64):
        yield secrets.randbelow(blocks)


def _lock(block: int) -> int | None:
    path = _registry() / f"uids-{block}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _registry() -> Path:
    for path in REGISTRIES:
        with suppress(OSError):
            path.mkdir(mode=0o700, exist_ok=True)
            return path
    raise ConfigurationError(
        "no_registry",
        f"Cannot write {REGISTRIES[0]}, where running instances note their users. Start it as an ordinary user "
        f"instead.",
    )
