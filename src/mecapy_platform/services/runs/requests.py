"""What a caller hands in to start a run, and what goes with it to its end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from mecapy_platform.core.workflows.advance import CONTINUE, FAIL_FAST
from mecapy_platform.services.tasks.requests import digest_of

POLICIES = (FAIL_FAST, CONTINUE)
REUSE = ("off", "own", "organization")


@dataclass(frozen=True)
class RunOptions:
    """`deadline_seconds`: from the start of the run to its end. `reuse`: whose identical results may be taken."""

    failure_policy: str = FAIL_FAST
    deadline_seconds: float | None = None
    priority: int = 5
    reuse: str = "off"

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "RunOptions":
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__ if name in stored})

    def stored(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RunRequest:
    """A run of one version of a workflow, whose right to see has been judged by who found it."""

    workflow_version_id: UUID
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: RunOptions = RunOptions()
    visibility: str = "private"
    rerun_of: UUID | None = None

    def digest(self) -> str:
        return digest_of(
            {
                "workflow_version_id": self.workflow_version_id,
                "inputs": dict(self.inputs),
                "options": self.options.stored(),
            }
        )
