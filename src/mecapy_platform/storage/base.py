"""The port to stored files. Keys are made in storage/keys; nothing of a user's naming reaches a path unescaped."""

import logging
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from mecapy_platform.core.errors import StorageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """A stored object: its size in bytes and the hexadecimal SHA-256 of its content."""

    key: str
    size_bytes: int
    sha256: str


class Storage(Protocol):
    """Whole objects by key. A put is atomic: a reader sees the old object, the new one or none, never half of one."""

    def check_room(self, size_bytes: int = 0) -> None:
        """Raise StorageFullError when this much more would go below the floor of free space.

        Nothing where space has no end.
        """

    def put(self, key: str, source: BinaryIO, *, limit_bytes: int | None = None) -> Stored:
        """Store what `source` gives.

        Raises TooLargeError above the limit, StorageFullError below the floor of free space.
        """

    def open(self, key: str) -> BinaryIO:
        """Open for reading. Raises NotFoundError."""

    def delete(self, key: str) -> None:
        """Forget one object; absent is fine. Raises StorageError where it may be there still."""

    def delete_prefix(self, prefix: str) -> int:
        """Forget every object below a prefix ending in `/`; returns how many.

        Raises StorageError where one may be there still; the others are gone.
        """

    def signed_url(self, key: str, *, filename: str, expires_seconds: int) -> str:
        """A URL that reads the object without a token until it expires."""


def try_delete(storage: Storage, key: str) -> bool:
    """Forget one object, or, with a key that ends in `/`, all below it. False: not yet, look at it again later."""
    try:
        if key.endswith("/"):
            storage.delete_prefix(key)
        else:
            storage.delete(key)
    except StorageError as error:
        log.warning("an object is not deleted yet: %s (%s)", error.message, key)
        return False
    return True
