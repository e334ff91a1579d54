"""Workflows, runs, calls, studies and schedules as ORM rows (ADR 18). Their states: core/workflows/states."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, ForeignKey, Identity, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from mecapy_platform.db.tables import NEW_ID, NOW, Base


class Workflow(Base):
    """A graph of calculations with a name; what it holds are its versions."""

    __tablename__ = "workflows"
    __table_args__ = (UniqueConstraint("organization_id", "slug"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    owner_id: Mapped[UUID]
    slug: Mapped[str]
    name: Mapped[str]
    description: Mapped[str | None]
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)


class WorkflowVersion(Base):
    """An immutable graph, numbered from 1 in its workflow."""

    __tablename__ = "workflow_versions"
    __table_args__ = (UniqueConstraint("workflow_id", "number"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    workflow_id: Mapped[UUID] = mapped_column(ForeignKey("workflows.id", ondelete="CASCADE"))
    number: Mapped[int]
    graph: Mapped[dict[str, Any]]
    interface: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    node_count: Mapped[int] = mapped_column(server_default=text("0"))
    depth: Mapped[int] = mapped_column(server_default=text("0"))
    document: Mapped[str | None]
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class WorkflowVersionUse(Base):
    """A function or a workflow version that a graph uses, itself or through others."""

    __tablename__ = "workflow_version_uses"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    workflow_version_id: Mapped[UUID] = mapped_column(ForeignKey("workflow_versions.id", ondelete="CASCADE"))
    organization_id: Mapped[UUID]
    function_id: Mapped[UUID | None]
    used_version_id: Mapped[UUID | None]


class WorkflowRun(Base):
    """One execution of a workflow version."""

    __tablename__ = "runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    user_id: Mapped[UUID]
    workflow_id: Mapped[UUID] = mapped_column(ForeignKey("workflows.id"))
    workflow_version_id: Mapped[UUID] = mapped_column(ForeignKey("workflow_versions.id"))
    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    inputs: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    inputs_ref: Mapped[UUID | None]
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    plan: Mapped[dict[str, Any]]
    visibility_snapshot: Mapped[str]
    parent_call_id: Mapped[UUID | None]
    root_run_id: Mapped[UUID | None]
    depth: Mapped[int] = mapped_column(server_default=text("0"))
    rerun_of: Mapped[UUID | None]
    wake_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    held_reason: Mapped[str | None]
    outputs: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    outputs_ref: Mapped[UUID | None]
    change: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    first_failed_node_key: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    qa_tracked_at: Mapped[datetime | None]
    qa_tracked_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class RunNode(Base):
    """A node of a run."""

    __tablename__ = "run_nodes"
    __table_args__ = (UniqueConstraint("run_id", "key"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    place: Mapped[int]
    key: Mapped[str]
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    branch: Mapped[int | None]
    items: Mapped[int | None]
    inputs_digest: Mapped[str | None]
    outputs: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    outputs_ref: Mapped[UUID | None]
    reused_task_id: Mapped[UUID | None]
    reuse_note: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    not_before: Mapped[datetime | None]
    decided_by: Mapped[UUID | None]
    decision: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class Call(Base):
    """One body with its inputs: of a node, an item, an iteration or a point of a study."""

    __tablename__ = "calls"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    run_id: Mapped[UUID | None]
    node_id: Mapped[UUID | None]
    study_id: Mapped[UUID | None]
    index: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    function_id: Mapped[UUID | None]
    workflow_version_id: Mapped[UUID | None]
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    task_id: Mapped[UUID | None]
    position: Mapped[int | None]
    child_run_id: Mapped[UUID | None]
    inputs: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    inputs_ref: Mapped[UUID | None]
    files: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    bindings: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    cancel_requested_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result_ref: Mapped[UUID | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    log: Mapped[str | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    wall_seconds: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    peak_memory_mb: Mapped[float | None]


class DueMark(Base):
    """Something ended for this run or study, which has not looked at it yet."""

    __tablename__ = "due_marks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    run_id: Mapped[UUID | None]
    study_id: Mapped[UUID | None]
    task_id: Mapped[UUID | None]
    child_run_id: Mapped[UUID | None]
    completed: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    cancelled: Mapped[int] = mapped_column(server_default=text("0"))
    returned: Mapped[int] = mapped_column(server_default=text("0"))
    cpu_seconds: Mapped[float] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Study(Base):
    """A function or a workflow version, varied; its points are calls."""

    __tablename__ = "studies"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    user_id: Mapped[UUID]
    name: Mapped[str]
    function_id: Mapped[UUID | None]
    workflow_version_id: Mapped[UUID | None]
    design: Mapped[dict[str, Any]]
    fixed: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    points: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    waiting: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    running: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    completed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    failed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cancelled: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cpu_seconds: Mapped[float] = mapped_column(server_default=text("0"))
    outcome: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    change: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    wake_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    request_digest: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class Schedule(Base):
    """Submits a task, a run or a study at times of a cron expression."""

    __tablename__ = "schedules"
    __table_args__ = (UniqueConstraint("organization_id", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    organization_id: Mapped[UUID]
    user_id: Mapped[UUID]
    name: Mapped[str]
    kind: Mapped[str]
    target: Mapped[dict[str, Any]]
    cron: Mapped[str]
    time_zone: Mapped[str]
    missed: Mapped[str] = mapped_column(server_default=text("'skip'"))
    overlap: Mapped[str] = mapped_column(server_default=text("'allow'"))
    is_paused: Mapped[bool] = mapped_column(server_default=text("false"))
    next_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ScheduleFiring(Base):
    """A time of a schedule that was served."""

    __tablename__ = "schedule_firings"

    schedule_id: Mapped[UUID] = mapped_column(ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(primary_key=True)
    organization_id: Mapped[UUID]
    outcome: Mapped[str]
    made_id: Mapped[UUID | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class StateTransition(Base):
    """Generated from core: which state of a run, node, call or study may follow which."""

    __tablename__ = "state_transitions"

    kind: Mapped[str] = mapped_column(primary_key=True)
    before: Mapped[str] = mapped_column(primary_key=True)
    after: Mapped[str] = mapped_column(primary_key=True)
