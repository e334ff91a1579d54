"""Looks at runs, for those who may: whole runs, their nodes and the items of a node in pages.

Every query names the organizations; row-level security is the second fence.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.core.workflows.graph import NodeKind
from mecapy_platform.core.workflows.states import CallState, NodeState, RunState
from mecapy_platform.db import run_views as statements
from mecapy_platform.db.tables import Organization
from mecapy_platform.db.workflow_tables import RunNode, Workflow, WorkflowRun
from mecapy_platform.services.runs.loading import LoadedVersion, load_version

OUTPUTS_BYTES = 8 << 20  # of all nodes in one answer; what lies beyond is named by its reference
NODES_MOST = 5_000

PUBLISHED_NODE = {
    NodeState.PENDING: "pending",
    NodeState.WAITING: "running",
    NodeState.RUNNING: "running",
    NodeState.COMPLETED: "success",
    NodeState.FAILED: "failed",
    NodeState.CANCELLED: "cancelled",
    NodeState.SKIPPED: "cancelled",
}
PUBLISHED_RUN = {**{state: state.value for state in RunState}, RunState.PAUSED: "running"}


@dataclass(frozen=True)
class NodeView:
    """A node of a run. `outputs_text`: as they lie; None: none yet, or they are large and lie at `outputs_ref`."""

    key: str
    kind: NodeKind
    state: NodeState
    tries: int
    branch: int | None
    items: int | None
    not_before: datetime | None
    decided_by: UUID | None
    decision: str | None
    error_code: str | None
    error_message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    task_id: UUID | None
    child_run_id: UUID | None
    call_id: UUID | None
    outputs_text: str | None
    outputs_ref: UUID | None
    outputs_bytes: int
    has_more: bool

    @property
    def outputs(self) -> dict[str, Any] | None:
        """Read each time they are asked for."""
        return None if self.outputs_text is None else dict(json.loads(self.outputs_text))

    @property
    def published_status(self) -> str:
        return PUBLISHED_NODE[self.state]


@dataclass(frozen=True)
class ItemView:
    """A call of a node: an item of a map, an iteration of a loop, or what another node executes."""

    id: UUID
    index: int
    state: CallState
    tries: int
    task_id: UUID | None
    child_run_id: UUID | None
    inputs: Mapping[str, Any] | None
    outputs: Mapping[str, Any] | None
    outputs_ref: UUID | None
    error_code: str | None
    error_message: str | None
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True)
class RunView:
    run: WorkflowRun
    slug: str
    owner: str
    version: LoadedVersion


@dataclass(frozen=True)
class RunFilter:
    """What a list is narrowed to; None leaves a field open. Runs inside others are not listed."""

    workflow_id: UUID | None = None
    state: str | None = None
    user_id: UUID | None = None
    qa_tracked: bool | None = None


def get_run(session: Session, actor: Actor, run_id: UUID) -> RunView:
    """Raises NotFoundError "run_not_found"."""
    row = session.execute(_runs(actor).where(WorkflowRun.id == run_id)).first()
    if row is None:
        raise NotFoundError("run_not_found", "There is no such run.")
    run, slug, owner = row
    return RunView(run, slug, owner, load_version(session, run.workflow_version_id))


def list_runs(
    session: Session, actor: Actor, wanted: RunFilter, *, limit: int = 50, offset: int = 0
) -> tuple[list[tuple[WorkflowRun, str]], int]:
    """The newest first, each with the slug of its workflow, and how many there are in all."""
    query = _narrowed(_runs(actor), wanted)
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(WorkflowRun.id).subquery())) or 0
    rows = session.execute(query.order_by(WorkflowRun.id.desc()).limit(limit).offset(offset))
    return [(run, slug) for run, slug, _ in rows], total


def nodes(
    session: Session, actor: Actor, run_id: UUID, *, after: int = -1, limit: int = NODES_MOST, outputs: bool = True
) -> tuple[list[NodeView], int | None]:
    """Nodes from a place on, in the order in which they may start; and where to go on, if there are more."""
    get_run(session, actor, run_id)
    asked = {"run_id": run_id, "after": after, "most": limit + 1, "bytes": OUTPUTS_BYTES if outputs else 0}
    rows = session.execute(statements.NODES, asked).all()
    shown = [_node(row) for row in rows[:limit]]
    return shown, rows[limit - 1].place if len(rows) > limit else None


def items(
    session: Session, actor: Actor, run_id: UUID, key: str, *, after: int = -1, limit: int = 100
) -> tuple[list[ItemView], int | None]:
    """Calls of a node from an index on. Raises NotFoundError "run_not_found", "node_not_found"."""
    get_run(session, actor, run_id)
    node_id = session.scalar(select(RunNode.id).where(RunNode.run_id == run_id, RunNode.key == key))
    if node_id is None:
        raise NotFoundError("node_not_found", f"The run has no node {key[:80]!r}; input nodes have no items either.")
    rows = session.execute(statements.ITEMS, {"node_id": node_id, "after": after, "most": limit + 1}).all()
    shown = [
        ItemView(**{name: getattr(row, name) for name in ItemView.__dataclass_fields__ if name != "state"},
                 state=CallState(row.state))
        for row in rows[:limit]
    ]  # fmt: skip
    return shown, shown[-1].index if len(rows) > limit else None


def parsed_outputs(view: NodeView) -> Any:
    return view.outputs


def published_node_states(
    views: Sequence[NodeView], outputs: Callable[[NodeView], Any] = parsed_outputs
) -> dict[str, dict[str, Any]]:
    """The published `node_states`: of function nodes alone. `outputs`: how those of a node stand in the answer."""
    return {
        view.key: {
            "status": view.published_status,
            "job_id": None if view.task_id is None else str(view.task_id),
            "outputs": outputs(view),
            "error": view.error_message,
            "started_at": None if view.started_at is None else view.started_at.isoformat(),
            "completed_at": None if view.completed_at is None else view.completed_at.isoformat(),
        }
        for view in views
        if view.kind is NodeKind.FUNCTION
    }


def _runs(actor: Actor) -> Select[WorkflowRun, str, str]:
    return (
        select(WorkflowRun, Workflow.slug, Organization.slug)
        .join(Workflow, Workflow.id == WorkflowRun.workflow_id)
        .join(Organization, Organization.id == WorkflowRun.organization_id)
        .where(WorkflowRun.organization_id.in_(actor.organization_ids))
    )


def _narrowed(query: Select[WorkflowRun, str, str], wanted: RunFilter) -> Select[WorkflowRun, str, str]:
    query = query.where(WorkflowRun.parent_call_id.is_(None))
    if wanted.workflow_id is not None:
        query = query.where(WorkflowRun.workflow_id == wanted.workflow_id)
    if wanted.state is not None:
        query = query.where(WorkflowRun.state == wanted.state)
    if wanted.user_id is not None:
        query = query.where(WorkflowRun.user_id == wanted.user_id)
    if wanted.qa_tracked is not None:
        query = query.where(WorkflowRun.qa_tracked_at.is_not(None) == wanted.qa_tracked)
    return query


def _node(row: Any) -> NodeView:
    plain = set(NodeView.__dataclass_fields__) - {"kind", "state", "has_more"}
    is_left_out = row.outputs_text is None and row.outputs_bytes > 0
    return NodeView(
        **{name: getattr(row, name) for name in plain},
        kind=NodeKind(row.kind),
        state=NodeState(row.state),
        has_more=is_left_out or row.outputs_ref is not None,
    )
