"""The port to stored files. Keys are made in storage/keys; nothing of a user's naming reaches a path unescaped."""

from dataclasses import dataclass
from typing import BinaryIO, Protocol


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
        """Forget one object; absent is fine."""

    def delete_prefix(self, prefix: str) -> int:
        """Forget every object below a prefix ending in `/`; returns how many."""

    def signed_url(self, key: str, *, filename: str, expires_seconds: int) -> str:
        """A URL that reads the object without a token until it expires."""
