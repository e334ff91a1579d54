"""Artifacts: the files of a task, listed and downloaded without ever leaving the target directory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mecapy_platform.client.paths import Claimed, safe_target
from mecapy_platform.client.records import build
from mecapy_platform.client.transport import Transport
from mecapy_platform.core.errors import MecapyError, UnavailableError

CHUNK_BYTES = 1 << 16


class DownloadError(MecapyError):
    """What arrived is not what the platform announced, or it cannot be written."""


@dataclass(frozen=True)
class Artifact:
    """A stored file of a task.

    `kind` is "file" for a File output (`name` is its port), "artifact" for anything else that was kept.
    """

    name: str
    kind: str
    size_bytes: int
    sha256: str
    url: str
    filename: str = ""
    partial: bool = False
    attempt: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return build(cls, data)

    @property
    def path(self) -> str:
        """Where it goes below a target directory: a port's file under its file name, an artifact under its own path."""
        return self.filename if self.kind == "file" and self.filename else self.name


class Artifacts:
    """Calls about artifacts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def of_task(self, task_id: str) -> tuple[Artifact, ...]:
        answer = self._transport.get(f"/tasks/{task_id}/artifacts")
        return tuple(Artifact.from_json(item) for item in answer["artifacts"])

    def download_all(self, artifacts: tuple[Artifact, ...], directory: Path) -> tuple[Path, ...]:
        """Download into `directory`; two artifacts whose names are one on this system get two names."""
        claimed = Claimed()
        return tuple(self.download(item, directory, claimed) for item in artifacts)

    def download(self, artifact: Artifact, directory: Path, claimed: Claimed | None = None) -> Path:
        """Stream to `<name>.part`, go on where an earlier try broke off, check the digest, then rename."""
        target = safe_target(directory, artifact.path, claimed or Claimed())
        part = target.with_name(target.name + ".part")
        try:
            if part.is_symlink():
                part.unlink()
            for last in (False, True):
                if self._fill(artifact, part, is_last=last):
                    part.replace(target)
                    return target
        except OSError as error:
            message = (
                f"Cannot write {target}: {error.strerror or error}. Choose another directory (-o DIR) or make room."
            )
            raise DownloadError("download_unwritable", message) from error
        part.unlink(missing_ok=True)
        raise DownloadError(
            "download_damaged", f"{artifact.name} arrived damaged twice (its digest differs). Try again."
        )

    def _fill(self, artifact: Artifact, part: Path, *, is_last: bool) -> bool:
        """Bring `part` to its full content; False when the digest is wrong (the part is then gone)."""
        try:
            self._append(artifact, part)
        except UnavailableError:
            if is_last:
                raise
            return False
        if _digest(part) == artifact.sha256:
            return True
        part.unlink()
        return False

    def _append(self, artifact: Artifact, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > artifact.size_bytes:
            have = 0
        if have == artifact.size_bytes and part.exists():
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._transport.stream(artifact.url, {**headers, "Accept-Encoding": "identity"}) as response:
            mode = "ab" if response.status_code == 206 else "wb"
            with part.open(mode) as stream:
                for chunk in self._transport.chunks(response, CHUNK_BYTES):
                    stream.write(chunk)
                    if stream.tell() > artifact.size_bytes:
                        return  # more than announced: the digest will tell


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
