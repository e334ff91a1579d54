"""What a caller hands in to submit a task, and how a request is told apart from another one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from mecapy_platform.db.tables import Task
from mecapy_platform.services.tasks.read import TaskView


@dataclass(frozen=True)
class TaskRequest:
    """One task to run. The function is named by package ("name" or "owner/name") or by the package's id."""

    function: str
    package: str | None = None
    package_id: UUID | None = None
    version: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, UUID] = field(default_factory=dict)
    priority: int = 5
    timeout_seconds: float | None = None
    name: str | None = None

    def digest(self) -> str:
        """The same for requests that ask for the same thing; used to tell a repeated call from a reused key."""
        fields = {
            "function": self.function,
            "package": self.package,
            "package_id": self.package_id,
            "version": self.version,
            "inputs": dict(self.inputs),
            "files": dict(self.files),
            "priority": self.priority,
            "timeout_seconds": self.timeout_seconds,
            "name": self.name,
        }
        return digest_of(fields)


@dataclass(frozen=True)
class Submitted:
    """The task, whether it existed already under the same idempotency key, and, for a new one, what it runs."""

    task: Task
    replayed: bool = False
    view: TaskView | None = None


def inputs_digest(inputs: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Of what a task gets: its values, and its files by their content."""
    return digest_of({"inputs": dict(inputs), "files": {port: file["sha256"] for port, file in files.items()}})


def digest_of(value: object) -> str:
    """SHA-256 of the canonical JSON of a value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
