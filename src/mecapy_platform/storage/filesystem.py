"""Stored objects as files below one directory: the embedded default. A put is a staged file, synced, then renamed."""

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from mecapy_platform.core.errors import NotFoundError, StorageError, StorageFullError, TooLargeError, UnavailableError
from mecapy_platform.storage.base import Stored
from mecapy_platform.storage.keys import checked
from mecapy_platform.storage.signing import UrlSigner

CHUNK_BYTES = 1 << 20
STAGING = "staging"
STALE_SECONDS = 24 * 3600
PLACE_TRIES = 1000
DIRECTORY_MODE = 0o750
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY})  # or somebody has put something meanwhile
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FilesystemStorage:
    """Implements storage.base.Storage in a directory that only this platform's user can enter."""

    def __init__(self, root: Path, *, base_url: str, secret: str, floor_bytes: int = 0) -> None:
        self._objects = root / "objects"
        self._staging = root / STAGING
        self._floor_bytes = floor_bytes
        self.signer = UrlSigner(base_url, secret)
        for directory in (self._objects, self._staging):
            _make_directory(directory)
        self._forget_stale()

    def put(self, key: str, source: BinaryIO, *, limit_bytes: int | None = None) -> Stored:
        target = self._path(key)
        staged = self._staging / uuid4().hex
        try:
            with self._full_disk_said():
                size_bytes, sha256 = self._write(staged, source, limit_bytes)
                self._place(staged, target)
        finally:
            staged.unlink(missing_ok=True)
        return Stored(key, size_bytes, sha256)

    def open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFoundError("object_not_found", "There is no such stored object.") from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _deletion_said(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        self._prune(path.parent)

    def delete_prefix(self, prefix: str) -> int:
        if not prefix.endswith("/"):
            raise ValueError(f"a prefix ends in a slash: {prefix!r}")
        directory = self._path(prefix)
        count = sum(len(files) for _, _, files in os.walk(directory))
        with _deletion_said():
            _remove_tree(directory)
        self._prune(directory.parent)
        return count

    def signed_url(self, key: str, *, filename: str, expires_seconds: int) -> str:
        return self.signer.sign(checked(key), filename=filename, expires_seconds=expires_seconds)

    def check_room(self, size_bytes: int = 0) -> None:
        """Raise StorageFullError when writing this much would go below the floor of free space."""
        if shutil.disk_usage(self._staging).free - size_bytes < self._floor_bytes:
            raise StorageFullError(
                "storage_full",
                f"The platform's disk has less than {self._floor_bytes >> 20} MiB left; nothing was stored. An "
                f"operator must make room.",
            )

    def _path(self, key: str) -> Path:
        return self._objects / checked(key)

    def _write(self, staged: Path, source: BinaryIO, limit_bytes: int | None) -> tuple[int, str]:
        digest = hashlib.sha256()
        size_bytes = 0
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640), "wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                size_bytes += len(chunk)
                if limit_bytes is not None and size_bytes > limit_bytes:
                    raise TooLargeError(
                        "object_too_large", f"It has more than the {limit_bytes} bytes that are allowed."
                    )
                self.check_room(len(chunk))
                target.write(chunk)
                digest.update(chunk)
            target.flush()
            os.fsync(target.fileno())
        return size_bytes, digest.hexdigest()

    def _place(self, staged: Path, target: Path) -> None:
        """Give the staged file its name. A directory that somebody prunes in between is made again."""
        for _ in range(PLACE_TRIES):
            try:
                _make_directory(target.parent)
                staged.replace(target)
                _sync(target.parent)
            except FileNotFoundError:
                if not staged.exists():
                    return  # it was placed, and then forgotten with its directory
                continue
            return
        raise UnavailableError(
            "storage_busy", "The directory of this object is being removed over and over; try again."
        )

    def _prune(self, directory: Path) -> None:
        """Remove directories that became empty, up to the root."""
        while directory != self._objects:
            try:
                directory.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            directory = directory.parent

    def _forget_stale(self) -> None:
        """Remove what a killed process left in staging."""
        before = time.time() - STALE_SECONDS
        for path in self._staging.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    @contextlib.contextmanager
    def _full_disk_said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise StorageFullError(
                    "storage_full", "The platform's disk is full; nothing was stored. An operator must make room."
                ) from error
            raise


def _make_directory(directory: Path) -> None:
    """With all parents, none of them open to others."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    with contextlib.suppress(FileExistsError):  # made by another put, and maybe gone again: whoever needs it looks
        directory.mkdir(mode=DIRECTORY_MODE)


def _remove_tree(directory: Path) -> None:
    """All that can go. Raises the first OSError of what could not; gone already, or put meanwhile, is fine."""
    errors: list[OSError] = []
    for folder, folders, files in os.walk(directory, topdown=False, onerror=errors.append):
        for remove, names in ((os.unlink, files), (_remove_folder, folders)):
            for name in names:
                try:
                    remove(f"{folder}/{name}")
                except OSError as error:
                    errors.append(error)
    try:
        _remove_folder(directory)
    except OSError as error:
        errors.append(error)
    failed = next((error for error in errors if error.errno not in GONE), None)
    if failed is not None:
        raise failed


def _remove_folder(path: str | Path) -> None:
    """Or the link to one, which nobody of ours makes."""
    Path(path).unlink() if Path(path).is_symlink() else Path(path).rmdir()


@contextlib.contextmanager
def _deletion_said() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            "storage_not_deleted",
            f"The platform's disk did not let go of an object: {error.strerror}. It is tried again; an operator should "
            f"look at the disk and its rights.",
        ) from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
