"""Bodies and answers of our own task paths."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from mecapy_platform.services.tasks.requests import TaskRequest

KEY_LENGTH = 200
Name = Annotated[str, Field(min_length=1, max_length=255)]
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=KEY_LENGTH, pattern=r"^[\x21-\x7e]+( *[\x21-\x7e]+)*$")]


class TaskBody(BaseModel):
    """A task to run: a function of a package with its inputs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    package: Annotated[str, Field(min_length=1, max_length=300, description='"name" or "owner/name"')]
    function: Name
    version: Annotated[str | None, Field(max_length=100, description="The newest usable version when left out.")] = None
    inputs: Annotated[
        dict[str, Any], Field(description='Values by port; a text such as "12 mm" is converted to SI.')
    ] = {}
    files: Annotated[
        dict[str, Annotated[UUID, Field(strict=False)]], Field(max_length=1000, description="Upload ids by File port.")
    ] = {}
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    timeout_seconds: Annotated[float | None, Field(gt=0, le=1e9, allow_inf_nan=False)] = None
    name: Annotated[Name | None, Field(description="A name for people.")] = None

    def request(self) -> TaskRequest:
        return TaskRequest(
            function=self.function,
            package=self.package,
            version=self.version,
            inputs=self.inputs,
            files=self.files,
            priority=self.priority,
            timeout_seconds=self.timeout_seconds,
            name=self.name,
        )


class BulkTaskBody(TaskBody):
    """A task of a bulk submission, with its own idempotency key."""

    idempotency_key: IdempotencyKey | None = None


class BulkBody(BaseModel):
    """Up to 1,000 tasks. Each is checked by itself, so one mistake refuses one task."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tasks: Annotated[
        list[Any],
        Field(min_length=1, max_length=1000),
        WithJsonSchema(
            {"type": "array", "minItems": 1, "maxItems": 1000, "items": {"$ref": "#/components/schemas/BulkTaskBody"}}
        ),
    ]


class Fault(BaseModel):
    code: str
    message: str


class UsageAnswer(BaseModel):
    wall_seconds: float | None
    cpu_seconds: float | None
    peak_memory_mb: float | None


class AttemptAnswer(BaseModel):
    number: int
    state: str
    node: str
    backend: str
    started_at: datetime
    ended_at: datetime | None
    error: Fault | None
    usage: UsageAnswer | None


class PackageRef(BaseModel):
    id: UUID
    name: str
    version: str
    owner: str


class LimitsAnswer(BaseModel):
    cpu: int
    memory_mb: int
    timeout_seconds: float


class Provenance(BaseModel):
    package_digest: str | None
    environment_digest: str | None
    interpreter: str | None
    inputs_digest: str
    submitted_by: UUID


class TaskAnswer(BaseModel):
    """A task. In lists `inputs`, `files`, `result`, `attempts` and `waiting` are not filled.

    Inputs above 256 KiB are at `/tasks/{id}/inputs` alone, such a result at `/tasks/{id}/result`.
    """

    id: UUID
    name: str
    state: str
    lane: str
    priority: int
    package: PackageRef
    function: str
    version_id: UUID
    function_id: UUID
    inputs: dict[str, Any] | None
    files: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancel_requested_at: datetime | None
    progress: dict[str, Any] | None
    error: Fault | None
    usage: UsageAnswer | None
    result: dict[str, Any] | None = None
    limits: LimitsAnswer
    attempts: list[AttemptAnswer] = []
    waiting: Fault | None = None
    retry_of: UUID | None
    parked: bool
    provenance: Provenance


class TaskList(BaseModel):
    tasks: list[TaskAnswer]
    next_cursor: str | None


class BulkError(BaseModel):
    code: str
    detail: str
    errors: list[dict[str, str]]


class BulkVerdict(BaseModel):
    index: int
    task: TaskAnswer | None
    error: BulkError | None


class BulkAnswer(BaseModel):
    results: list[BulkVerdict]
    accepted: int
    refused: int


class ArtifactAnswer(BaseModel):
    """A stored file; `url` works without a token for some minutes."""

    name: str
    kind: str
    filename: str
    size_bytes: int
    sha256: str
    partial: bool
    attempt: int
    url: str


class ArtifactList(BaseModel):
    artifacts: list[ArtifactAnswer]


class ResultAnswer(BaseModel):
    id: UUID
    state: str
    result: dict[str, Any] | None
    error: Fault | None
    usage: UsageAnswer | None
    artifacts: list[ArtifactAnswer]


class LogEntry(BaseModel):
    index: int
    attempt: int
    kind: str
    text: str
    created_at: datetime


class LogAnswer(BaseModel):
    entries: list[LogEntry]
    next: int
    done: bool
