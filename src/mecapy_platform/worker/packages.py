"""Extracted packages on this node, by the digest of their archive.

Made once, read by every attempt, never written again.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.storage import archives
from mecapy_platform.worker.context import WorkerContext


def ensure_package(context: WorkerContext, archive_key: str, sha256: str) -> Path:
    """The extracted package. Two at once both extract, and one of the two results is kept."""
    home = context.cache_dir / "packages"
    target = home / sha256
    if target.is_dir():
        return target
    home.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=home))
    try:
        with context.storage.open(archive_key) as source:
            found = sha256_of(source)
            if found != sha256:
                raise UnavailableError(
                    "archive_changed", f"The stored archive {archive_key} is not the one that was deployed."
                )
            source.seek(0)
            archives.extract(source, staging)
        staging.chmod(0o755)
        publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def sha256_of(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := source.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def publish(staging: Path, target: Path) -> None:
    """Give a finished directory its name; somebody else may have been faster with the same content."""
    try:
        os.rename(staging, target)  # noqa: PTH104 - Path.rename reads the same; os.rename names the errors below
    except OSError:
        if not target.is_dir():
            raise
