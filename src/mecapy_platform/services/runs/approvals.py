"""What waits for a person: approvals of runs, for those who may see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.workflows.graph import NodeKind
from mecapy_platform.core.workflows.states import NodeState
from mecapy_platform.db.workflow_tables import RunNode, Workflow, WorkflowRun
from mecapy_platform.services.runs.loading import load_version

MOST = 200


@dataclass(frozen=True)
class Approval:
    """A node that waits. `role`: whose decision it takes; `expires_at`: when `on_expiry` decides."""

    run_id: UUID
    key: str
    workflow_slug: str
    user_id: UUID
    role: str | None
    message: str | None
    waits_since: datetime | None
    expires_at: datetime | None
    on_expiry: str


def waiting(session: Session, actor: Actor) -> Sequence[Approval]:
    """Oldest first, at most MOST."""
    query = (
        select(RunNode, WorkflowRun, Workflow.slug)
        .join(WorkflowRun, WorkflowRun.id == RunNode.run_id)
        .join(Workflow, Workflow.id == WorkflowRun.workflow_id)
        .where(
            RunNode.organization_id.in_(actor.organization_ids),
            RunNode.kind == NodeKind.APPROVAL,
            RunNode.state == NodeState.WAITING,
            RunNode.decision.is_(None),
        )
    )
    rows = session.execute(query.order_by(RunNode.started_at, RunNode.id).limit(MOST))
    return [_approval(session, node, run, slug) for node, run, slug in rows]


def _approval(session: Session, node: RunNode, run: WorkflowRun, slug: str) -> Approval:
    drawn = load_version(session, run.workflow_version_id).graph.nodes[node.key]
    return Approval(
        run.id,
        node.key,
        slug,
        run.user_id,
        drawn.role,
        drawn.message,
        node.started_at,
        node.not_before,
        drawn.on_expiry,
    )
