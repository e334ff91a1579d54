"""The directory as storage: the contract, and what only a directory can get wrong."""

import fcntl
import io
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from integration.storage_contract import StorageContract, content_of, put
from mecapy_platform.core.errors import ForbiddenError, StorageError, StorageFullError
from mecapy_platform.storage import keys
from mecapy_platform.storage.filesystem import FilesystemStorage

KEY = "org/a/upload/b"
SET_FLAGS, IMMUTABLE = 0x40086602, 0x10  # of Linux's file systems, see ioctl_iflags(2)


def make(root: Path, floor_bytes: int = 0) -> FilesystemStorage:
    return FilesystemStorage(root, base_url="http://here", secret="s", floor_bytes=floor_bytes)


@pytest.fixture
def storage(tmp_path: Path) -> FilesystemStorage:
    return make(tmp_path)


class TestFilesystemStorage(StorageContract):
    """The contract over a directory."""


def files_below(root: Path) -> list[str]:
    return [name for _, _, names in os.walk(root) for name in names]


def test_below_the_floor_nothing_is_stored_and_nothing_is_left(tmp_path: Path) -> None:
    full = make(tmp_path, floor_bytes=1 << 60)
    with pytest.raises(StorageFullError, match="operator"):
        put(full, KEY, b"x")
    assert files_below(tmp_path) == []


def test_an_old_object_stays_when_the_disk_is_full(tmp_path: Path) -> None:
    put(make(tmp_path), KEY, b"old")
    with pytest.raises(StorageFullError):
        put(make(tmp_path, floor_bytes=1 << 60), KEY, b"new")
    assert content_of(make(tmp_path), KEY) == b"old"


def test_leftovers_of_a_killed_process_are_removed_at_start(tmp_path: Path) -> None:
    make(tmp_path)
    old, young = tmp_path / "staging" / "old", tmp_path / "staging" / "young"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 90_000,) * 2)
    make(tmp_path)
    assert files_below(tmp_path) == ["young"]


def test_others_cannot_enter(tmp_path: Path) -> None:
    put(make(tmp_path), KEY, b"x")
    modes = {path.stat().st_mode & 0o007 for path in tmp_path.rglob("*")}
    assert modes == {0}


def test_empty_directories_go_with_their_last_object(tmp_path: Path) -> None:
    storage = make(tmp_path)
    put(storage, KEY, b"x")
    storage.delete(KEY)
    assert list((tmp_path / "objects").iterdir()) == []


@contextmanager
def nothing_goes_from(folder: Path) -> Iterator[None]:
    """As on a disk that is read-only since it failed; root is kept from it by a flag of the file system."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("l", IMMUTABLE))
    except OSError:
        pytest.skip("no flags on this file system, or no right to set them")
    try:
        yield
    finally:
        fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("l", 0))
        os.close(descriptor)


def test_what_cannot_be_deleted_is_said_and_its_neighbours_go(storage: FilesystemStorage, tmp_path: Path) -> None:
    for name in ("x/1", "x/held/2", "x/3"):
        put(storage, f"org/a/{name}", b"x")
    with nothing_goes_from(tmp_path / "objects/org/a/x/held"):
        for delete in (lambda: storage.delete_prefix("org/a/x/"), lambda: storage.delete("org/a/x/held/2")):
            with pytest.raises(StorageError) as raised:
                delete()
            assert raised.value.code == "storage_not_deleted"
            assert str(tmp_path) not in raised.value.message
        assert files_below(tmp_path / "objects") == ["2"]
    assert storage.delete_prefix("org/a/x/") == 1
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        "report.csv",
        "a b.txt",
        "../../etc/passwd",
        "..",
        "/abs",
        "é" * 200,
        "x" * 400,
        "deep/" * 300 + "x",
        "a\0b",
        "a\nb",
        "%2e%2e/x",
        ".hidden",
        "\udce9",
    ],
)
def test_any_name_of_an_output_makes_a_key_below_its_attempt(storage: FilesystemStorage, name: str) -> None:
    organization, task = UUID(int=1), UUID(int=2)
    key = keys.output_key(organization, task, 1, "artifact", name)
    put(storage, key, b"x")
    assert content_of(storage, key) == b"x"
    assert storage.delete_prefix(keys.attempt_prefix(organization, task, 1)) == 1


def test_different_long_names_stay_different(storage: FilesystemStorage) -> None:
    made = {keys.output_key(UUID(int=1), UUID(int=2), 1, "artifact", "x" * 400 + end) for end in "abc"}
    assert len(made) == 3


def test_a_signed_address_holds_for_its_key_name_and_time_alone(storage: FilesystemStorage) -> None:
    url = storage.signed_url("org/a/x%20y", filename="x y.txt", expires_seconds=60)
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert parts.path == "/storage/org/a/x%2520y"
    expires, signature = int(query["expires"]), query["signature"]
    storage.signer.check("org/a/x%20y", filename="x y.txt", expires=expires, signature=signature)
    for key, filename, moment, sign in (
        ("org/a/other", "x y.txt", expires, signature),
        ("org/a/x%20y", "other", expires, signature),
        ("org/a/x%20y", "x y.txt", expires + 1, signature),
        ("org/a/x%20y", "x y.txt", expires, "0" * 64),
        ("org/a/x%20y", "x y.txt", expires, "é"),
        ("org/a/x%20y", "x y.txt", expires, ""),
    ):
        with pytest.raises(ForbiddenError):
            storage.signer.check(key, filename=filename, expires=moment, signature=sign)


def test_an_address_ends(storage: FilesystemStorage) -> None:
    url = storage.signed_url(KEY, filename="f", expires_seconds=-1)
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    with pytest.raises(ForbiddenError):
        storage.signer.check(KEY, filename="f", expires=int(query["expires"]), signature=query["signature"])


def test_a_large_object_is_copied_in_pieces(storage: FilesystemStorage) -> None:
    content = os.urandom(5_000_000)
    assert storage.put(KEY, io.BytesIO(content)).size_bytes == len(content)
    assert content_of(storage, KEY) == content
