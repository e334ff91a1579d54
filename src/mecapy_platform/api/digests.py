"""Digests of uploaded files."""

import hashlib
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


def sha256_of(source: BinaryIO) -> str:
    return _digest(hashlib.sha256(), source)


def md5_of(source: BinaryIO) -> str:
    """Only because a published answer has a field of this name."""
    return _digest(hashlib.md5(usedforsecurity=False), source)


def _digest(digest: "hashlib._Hash", source: BinaryIO) -> str:
    source.seek(0)
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
    source.seek(0)
    return digest.hexdigest()
