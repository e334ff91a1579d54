"""What every storage does.

A new implementation subclasses this and gives a `storage` fixture, and `read_url` to fetch a signed address.
"""

import hashlib
import io
import threading
from typing import BinaryIO
from uuid import uuid4

import pytest

from mecapy_platform.core.errors import NotFoundError, TooLargeError
from mecapy_platform.storage.base import Storage, Stored


class FailingSource(io.RawIOBase):
    """Gives some bytes, then fails, as a broken connection does."""

    def __init__(self) -> None:
        self._left = 3

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ConnectionResetError("gone")
        return b"x" * 1000


def put(storage: Storage, key: str, content: bytes) -> Stored:
    return storage.put(key, io.BytesIO(content))


def content_of(storage: Storage, key: str) -> bytes:
    with storage.open(key) as source:
        return source.read()


class StorageContract:
    @pytest.fixture
    def key(self) -> str:
        return f"org/{uuid4()}/task/{uuid4()}/attempt/1/file/report.csv"

    def test_what_is_put_is_read(self, storage: Storage, key: str) -> None:
        content = b"\0line\r\n" * 500_000
        stored = put(storage, key, content)
        assert stored == Stored(key, len(content), hashlib.sha256(content).hexdigest())
        assert content_of(storage, key) == content

    def test_an_empty_object_is_an_object(self, storage: Storage, key: str) -> None:
        assert put(storage, key, b"").size_bytes == 0
        assert content_of(storage, key) == b""

    def test_a_second_put_replaces(self, storage: Storage, key: str) -> None:
        put(storage, key, b"old")
        put(storage, key, b"new")
        assert content_of(storage, key) == b"new"

    def test_an_absent_object_is_not_found(self, storage: Storage, key: str) -> None:
        with pytest.raises(NotFoundError):
            storage.open(key)
        storage.delete(key)

    def test_above_the_limit_nothing_is_stored(self, storage: Storage, key: str) -> None:
        with pytest.raises(TooLargeError):
            storage.put(key, io.BytesIO(b"x" * 101), limit_bytes=100)
        with pytest.raises(NotFoundError):
            storage.open(key)
        assert storage.put(key, io.BytesIO(b"x" * 100), limit_bytes=100).size_bytes == 100

    def test_a_source_that_breaks_leaves_the_old_object(self, storage: Storage, key: str) -> None:
        put(storage, key, b"old")
        broken: BinaryIO = FailingSource()  # type: ignore[assignment]  # it reads as one
        with pytest.raises(ConnectionResetError):
            storage.put(key, broken)
        assert content_of(storage, key) == b"old"

    def test_a_reader_keeps_what_it_opened(self, storage: Storage, key: str) -> None:
        put(storage, key, b"old")
        with storage.open(key) as source:
            put(storage, key, b"new")
            storage.delete(key)
            assert source.read() == b"old"

    def test_a_prefix_is_forgotten_whole_and_its_neighbours_stay(self, storage: Storage) -> None:
        root = f"org/{uuid4()}/task"
        for name in (
            "a/attempt/1/file/x",
            "a/attempt/1/artifact/deep/er/y",
            "a/attempt/10/file/z",
            "b/attempt/1/file/x",
        ):
            put(storage, f"{root}/{name}", b"x")
        assert storage.delete_prefix(f"{root}/a/attempt/1/") == 2
        assert storage.delete_prefix(f"{root}/a/attempt/1/") == 0
        assert content_of(storage, f"{root}/a/attempt/10/file/z") == b"x"
        assert content_of(storage, f"{root}/b/attempt/1/file/x") == b"x"
        with pytest.raises(NotFoundError):
            storage.open(f"{root}/a/attempt/1/file/x")

    def test_puts_and_deletions_at_once_end_whole(self, storage: Storage) -> None:
        root = f"org/{uuid4()}/"
        faults: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(20):
                    put(storage, f"{root}{number}/x", b"x" * 1000)
                    storage.delete_prefix(f"{root}{number}/")
            except BaseException as error:  # noqa: BLE001 - told by the test
                faults.append(error)

        threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []

    @pytest.mark.parametrize(
        "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "a\0b", "a b", "x" * 256, "a/é"]
    )
    def test_a_key_that_leaves_its_root_is_absent(self, storage: Storage, key: str) -> None:
        with pytest.raises(NotFoundError):
            storage.open(key)
        with pytest.raises(NotFoundError):
            put(storage, key, b"x")
