"""The tables as ORM rows.

Rules of the rows live in services; who may see them is decided by the policies in migrations.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Integer,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """JSON is the text type: it keeps numbers as written, where jsonb would turn 1e300 into an integer."""

    type_annotation_map = {  # noqa: RUF012 - the name and shape are SQLAlchemy's
        str: Text,
        datetime: DateTime(timezone=True),
        UUID: Uuid,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        list[str]: ARRAY(Text),
        float: Double,
    }


NOW = func.now()
NEW_ID = text("uuidv7()")


class Organization(Base):
    __tablename__ = "organizations"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    slug: Mapped[str]
    display_name: Mapped[str]
    is_personal: Mapped[bool] = mapped_column(server_default=text("false"))
    source: Mapped[str] = mapped_column(server_default="local")  # local | issuer
    weight: Mapped[float] = mapped_column(server_default=text("1"))
    limits: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'")
    )  # overrides of settings, by setting name
    checks: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'")
    )  # what differs from the default policy, see core/checks
    catalog_revision: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0")
    )  # counts changes of what its names mean
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class User(Base):
    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    issuer: Mapped[str]
    subject: Mapped[str]
    username: Mapped[str]
    email: Mapped[str | None]
    personal_organization_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Membership(Base):
    __tablename__ = "memberships"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str]  # admin | user | viewer
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Package(Base):
    __tablename__ = "packages"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    owner_id: Mapped[UUID]
    name: Mapped[str]
    visibility: Mapped[str] = mapped_column(server_default="private")
    archived_at: Mapped[datetime | None]
    yanked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)


class PackageVersion(Base):
    """An immutable deployed state. Everything but the build's outcome is written once."""

    __tablename__ = "package_versions"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    package_id: Mapped[UUID] = mapped_column(ForeignKey("packages.id", ondelete="CASCADE"))
    version: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    archive_key: Mapped[str]
    archive_sha256: Mapped[str]
    source: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # git url, ref, commit
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    status: Mapped[str] = mapped_column(server_default="building")
    runtime: Mapped[str]  # the declared interpreter, such as "3.12"
    interpreter: Mapped[str | None]  # the one it was built for, "3.12.1"
    requirements_lock: Mapped[str | None]
    environment_digest: Mapped[str | None]
    build_log: Mapped[str] = mapped_column(server_default="")
    report: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # test cases and checks
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    build_token: Mapped[UUID | None]
    build_lease_until: Mapped[datetime | None]
    build_node: Mapped[str | None]
    build_memory_mb: Mapped[int] = mapped_column(server_default=text("0"))  # set aside on that node
    build_reserved_at: Mapped[datetime | None]
    build_attempts: Mapped[int] = mapped_column(server_default=text("0"))
    built_at: Mapped[datetime | None]


class Function(Base):
    __tablename__ = "functions"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    package_version_id: Mapped[UUID] = mapped_column(ForeignKey("package_versions.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str | None]
    handler: Mapped[str | None]
    entrypoint: Mapped[list[Any] | None]
    inputs: Mapped[dict[str, Any] | None]  # port -> {type, description, required}; None until read from the signature
    outputs: Mapped[dict[str, Any] | None]
    free_inputs: Mapped[bool] = mapped_column(server_default=text("false"))
    cpu: Mapped[int]
    memory_mb: Mapped[int]
    timeout_seconds: Mapped[float]
    options: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'")
    )  # retries, warm, needs, expected_seconds
    checksum: Mapped[str]
    completed_runs: Mapped[int] = mapped_column(server_default=text("0"))
    p95_seconds: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Task(Base):
    """One execution of a function. `claimable` stands in the claim index, so that finishing a task touches no index."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    user_id: Mapped[UUID]
    function_id: Mapped[UUID]
    package_version_id: Mapped[UUID]
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="queued")
    lane: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("5"))
    rank: Mapped[int] = mapped_column(SmallInteger)  # 0 in high_priority, else 9 - priority
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    claimable: Mapped[bool] = mapped_column(server_default=text("false"))
    hold_reason: Mapped[str | None]  # why a queued task is not claimable: building | backoff
    not_before: Mapped[datetime | None]
    needs: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))  # what its worker must be able to do

    run_id: Mapped[UUID | None]  # parents: the run and its node, the study and its point, the bulk call
    node_id: Mapped[UUID | None]
    study_id: Mapped[UUID | None]
    point: Mapped[int | None] = mapped_column(BigInteger)
    batch_id: Mapped[UUID | None]

    # As large as users make them: who wants them says so, or the statement is refused. See services/values.
    inputs: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True), deferred=True, deferred_raiseload=True
    )
    files: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'"), deferred=True, deferred_raiseload=True
    )  # port -> {upload_id, key, extension, size_bytes, sha256}
    inputs_digest: Mapped[str]
    cpu: Mapped[int]
    memory_mb: Mapped[int]
    timeout_seconds: Mapped[float]
    retries: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # max, backoff_seconds, on
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    machine_failures: Mapped[int] = mapped_column(server_default=text("0"))
    own_failures: Mapped[int] = mapped_column(
        server_default=text("0")
    )  # of the code itself; the machine's are counted apart
    outages: Mapped[int] = mapped_column(server_default=text("0"))  # given back uncounted: never begun
    retry_of: Mapped[UUID | None]
    inputs_ref: Mapped[UUID | None]  # of stored_values, as result_ref; then `inputs` is empty
    result_ref: Mapped[UUID | None]

    attempt_token: Mapped[UUID | None]
    node: Mapped[str | None]
    cancel_requested_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    runtime_seconds: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    peak_memory_mb: Mapped[float | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True), deferred=True, deferred_raiseload=True
    )
    result_s3_key: Mapped[str | None]  # of a large result, as earlier versions kept it
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    parked: Mapped[bool] = mapped_column(server_default=text("false"))
    interpreter: Mapped[str | None]
    environment_digest: Mapped[str | None]
    package_digest: Mapped[str | None]
    calls_count: Mapped[int] = mapped_column(server_default=text("0"))  # 0: its inputs and its result are its own
    share_cost: Mapped[float] = mapped_column(server_default=text("1"))  # what it counts in shares, a plain task 1


class Attempt(Base):
    __tablename__ = "attempts"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    number: Mapped[int]
    token: Mapped[UUID]
    node: Mapped[str]
    worker: Mapped[str]
    backend: Mapped[str]
    reference: Mapped[str | None]  # a durable name of the run in its backend
    cpu: Mapped[int]
    memory_mb: Mapped[int]
    lane: Mapped[str]
    lease_until: Mapped[datetime]
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    ended_at: Mapped[datetime | None]
    state: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    wall_seconds: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    peak_memory_mb: Mapped[float | None]
    leftovers_removed: Mapped[bool] = mapped_column(server_default=text("false"))  # leftovers in storage were removed


class TaskLog(Base):
    __tablename__ = "task_logs"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    organization_id: Mapped[UUID]
    attempt: Mapped[int]
    kind: Mapped[str]  # stdout | stderr | progress | platform
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Event(Base):
    """The outbox: what happened, written in the transaction in which it happened.

    In partitions by month of `task_id`, as task_logs and artifacts are (ADR 17); the database has no primary key here.
    """

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    organization_id: Mapped[UUID]
    task_id: Mapped[UUID | None]
    kind: Mapped[str]  # past tense: TaskQueued, TaskStarted, TaskRetried, TaskFinished, VersionBuilt
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    number: Mapped[int | None] = mapped_column(BigInteger)  # in commit order, given by the relay; readers go by it


class EventCounter(Base):
    """One row: the last number that was given to an event."""

    __tablename__ = "event_counter"

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    last_number: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class Upload(Base):
    __tablename__ = "uploads"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    user_id: Mapped[UUID]
    function_id: Mapped[UUID | None]
    var_name: Mapped[str]
    filename: Mapped[str]
    extension: Mapped[str]
    content_type: Mapped[str | None]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    key: Mapped[str]
    is_used: Mapped[bool] = mapped_column(server_default=text("false"))  # by a task: then it is kept
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Artifact(Base):
    __tablename__ = "artifacts"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int]
    kind: Mapped[str]  # file (of an output port) | artifact
    name: Mapped[str]  # port for a file, relative path for an artifact
    filename: Mapped[str]
    key: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    is_partial: Mapped[bool] = mapped_column(server_default=text("false"))


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_digest: Mapped[str]
    task_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Node(Base):
    """A machine that works. Its worker processes share what it has."""

    __tablename__ = "nodes"

    name: Mapped[str] = mapped_column(primary_key=True)
    cpu: Mapped[float]  # what may be reserved: cores times the over-commit
    memory_mb: Mapped[int]
    disk_free_bytes: Mapped[int] = mapped_column(BigInteger)
    accepts_work: Mapped[bool] = mapped_column(server_default=text("true"))
    refusal: Mapped[str | None]  # why not
    tools: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))  # abilities, as earlier versions tell them
    kept_for: Mapped[UUID | None]  # the task for which this node keeps what is free
    kept_until: Mapped[datetime | None]
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Worker(Base):
    """A process that works on a node: what it can do, and why it takes no work just now."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    name: Mapped[str] = mapped_column(unique=True)
    node: Mapped[str]
    lane: Mapped[str | None]  # None: several
    backend: Mapped[str]
    abilities: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))  # see core/placement
    away: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))  # abilities that it lacks just now
    accepts_work: Mapped[bool] = mapped_column(server_default=text("true"))
    refusal_code: Mapped[str | None]
    refusal: Mapped[str | None]
    software_version: Mapped[str | None]
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class StoredValue(Base):
    """A value above 256 KiB, which lies in storage; kept as long as a row refers to it."""

    __tablename__ = "stored_values"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    key: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class TaskTransition(Base):
    """Generated from core/states: which state may follow which; an empty `before` where a task may begin."""

    __tablename__ = "task_transitions"

    before: Mapped[str] = mapped_column(primary_key=True)
    after: Mapped[str] = mapped_column(primary_key=True)


class InstalledFunction(Base):
    """An SQL function as it was installed last, see db/functions."""

    __tablename__ = "installed_functions"

    name: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    installed_at: Mapped[datetime] = mapped_column(server_default=NOW)


class LaneShare(Base):
    """How far an organization has come in a lane: the one with the smallest pass goes next (stride scheduling)."""

    __tablename__ = "lane_shares"

    lane: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    stride_pass: Mapped[float] = mapped_column(server_default=text("0"))
    queued: Mapped[int] = mapped_column(server_default=text("0"))  # counted by the sweep
