"""Our own paths of runs: look at nodes and items in pages, wait, cancel, pause, resume, try again, decide.

A run is started by the published path, POST /workflows/{slug}/runs.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, OwnCaller
from mecapy_platform.api.published.run_views import terminal_outputs
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.api.task_models import Fault
from mecapy_platform.api.waiting import wait_until
from mecapy_platform.core.access import Actor
from mecapy_platform.core.workflows.graph import NodeKind
from mecapy_platform.core.workflows.states import CallState, NodeState, RunState
from mecapy_platform.db.workflow_tables import WorkflowRun
from mecapy_platform.services.runs import acts, approvals, read
from mecapy_platform.services.runs.read import ItemView, NodeView, RunFilter, RunView
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.work import Session

router = APIRouter(tags=["runs"], route_class=StrictRoute)
Act = Callable[[Session, Actor, UUID, Tools], WorkflowRun]


class RunAnswer(BaseModel):
    """A run. `nodes`: how many are in which state; `outputs`: of those that feed no other, once it has ended."""

    id: UUID
    workflow: str
    owner: str
    workflow_version_id: UUID
    state: RunState
    nodes: dict[NodeState, int] = {}
    outputs: dict[str, Any] | None = None
    options: dict[str, Any]
    error: Fault | None
    first_failed_node_key: str | None
    held_reason: str | None
    rerun_of: UUID | None
    user_id: UUID
    change: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    deadline_at: datetime | None
    cancel_requested_at: datetime | None


class RunList(BaseModel):
    runs: list[RunAnswer]
    total: int


class NodeAnswer(BaseModel):
    """A node of a run. `has_more`: its outputs are too large for this answer."""

    key: str
    kind: NodeKind
    state: NodeState
    tries: int
    branch: int | None
    items: int | None
    not_before: datetime | None
    decision: str | None
    decided_by: UUID | None
    task_id: UUID | None
    child_run_id: UUID | None
    outputs: dict[str, Any] | None
    has_more: bool
    error: Fault | None
    started_at: datetime | None
    completed_at: datetime | None


class NodeList(BaseModel):
    nodes: list[NodeAnswer]
    next_after: int | None


class ItemAnswer(BaseModel):
    """An item of a map, an iteration of a loop, or what another node executes."""

    id: UUID
    index: int
    state: CallState
    tries: int
    task_id: UUID | None
    child_run_id: UUID | None
    inputs: dict[str, Any] | None
    outputs: dict[str, Any] | None
    error: Fault | None
    started_at: datetime | None
    completed_at: datetime | None


class ItemList(BaseModel):
    items: list[ItemAnswer]
    next_after: int | None


class DecisionBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    decision: Literal["approve", "reject"]
    comment: Annotated[str | None, Field(max_length=2000)] = None


class ApprovalAnswer(BaseModel):
    """What waits for a person. `expires_at`: when `on_expiry` decides in their stead."""

    run_id: UUID
    key: str
    workflow_slug: str
    user_id: UUID
    role: str | None
    message: str | None
    waits_since: datetime | None
    expires_at: datetime | None
    on_expiry: str


class ApprovalList(BaseModel):
    approvals: list[ApprovalAnswer]


@router.get("/runs", operation_id="list_runs", responses=problems(schema="Problem"))
def list_runs(
    caller: OwnCaller,
    state: Annotated[RunState | None, Query()] = None,
    workflow_id: Annotated[UUID | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> RunList:
    """List the organization's runs, newest first; runs inside others are not listed."""
    wanted = RunFilter(workflow_id=workflow_id, state=state)
    with caller.session() as session:
        found, total = read.list_runs(session, caller.actor, wanted, limit=limit, offset=offset)
        return RunList(runs=[_run(run, slug, "") for run, slug in found], total=total)


@router.get("/runs/{run_id}", operation_id="get_run", responses=problems(schema="Problem"))
async def get_run(
    run_id: UUID,
    caller: OwnCaller,
    wait: Annotated[float, Query(ge=0, le=86400, allow_inf_nan=False, description="Seconds, bounded.")] = 0.0,
    change: Annotated[int, Query(ge=-1, le=2**62, description="With `wait`: answer once `change` is above this.")] = -1,
) -> RunAnswer:
    """Look at a run. With `wait`, answer when it has changed or ended."""

    def look() -> WorkflowRun:
        with caller.session() as session:
            return read.get_run(session, caller.actor, run_id).run

    seconds = min(wait, caller.context.settings.wait_seconds_max)
    if seconds > 0:
        await wait_until(
            caller.context.doorbell,
            f"run:{run_id}",
            seconds,
            look,
            lambda run: run.change > change or RunState(run.state).is_final,
        )
    return await run_in_threadpool(_whole, caller, run_id)


@router.get("/runs/{run_id}/nodes", operation_id="list_run_nodes", responses=problems(schema="Problem"))
def list_run_nodes(
    run_id: UUID,
    caller: OwnCaller,
    after: Annotated[int, Query(ge=-1, le=10_000)] = -1,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 500,
    outputs: Annotated[bool, Query(description="With what nodes have given, 8 MiB in all.")] = True,
) -> NodeList:
    """List the nodes of a run in the order in which they may start."""
    with caller.session() as session:
        found, further = read.nodes(session, caller.actor, run_id, after=after, limit=limit, outputs=outputs)
    return NodeList(nodes=[_node(view) for view in found], next_after=further)


@router.get("/runs/{run_id}/nodes/{key}/items", operation_id="list_run_items", responses=problems(schema="Problem"))
def list_run_items(
    run_id: UUID,
    key: str,
    caller: OwnCaller,
    after: Annotated[int, Query(ge=-1, le=50_000)] = -1,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> ItemList:
    """List what a node executes: items of a map, iterations of a loop."""
    with caller.session() as session:
        found, further = read.items(session, caller.actor, run_id, key, after=after, limit=limit)
    return ItemList(items=[_item(view) for view in found], next_after=further)


@router.post("/runs/{run_id}/cancel", operation_id="cancel_run", responses=problems(schema="Problem"))
def cancel_run(run_id: UUID, caller: OwnCaller) -> RunAnswer:
    """Cancel a run: what waits ends at once, what runs is asked to."""
    return _acted(caller, run_id, acts.cancel)


@router.post("/runs/{run_id}/pause", operation_id="pause_run", responses=problems(409, schema="Problem"))
def pause_run(run_id: UUID, caller: OwnCaller) -> RunAnswer:
    """Start nothing new; what runs goes on to its end, and so does the deadline."""
    return _acted(caller, run_id, acts.pause)


@router.post("/runs/{run_id}/resume", operation_id="resume_run", responses=problems(409, schema="Problem"))
def resume_run(run_id: UUID, caller: OwnCaller) -> RunAnswer:
    """Let a paused run go on."""
    return _acted(caller, run_id, acts.resume)


@router.post("/runs/{run_id}/retry", operation_id="retry_run", responses=problems(409, schema="Problem"))
def retry_run(run_id: UUID, caller: OwnCaller) -> RunAnswer:
    """Go on with a run that failed, was cancelled or timed out: what has ended well stays."""
    return _acted(caller, run_id, acts.retry)


@router.post("/runs/{run_id}/adopt", operation_id="adopt_run", responses=problems(409, schema="Problem"))
def adopt_run(run_id: UUID, caller: OwnCaller) -> RunAnswer:
    """Take over a run whose user has left: it goes on with your rights. Administrators only."""
    return _acted(caller, run_id, acts.adopt)


@router.post(
    "/runs/{run_id}/nodes/{key}/decision",
    operation_id="decide_approval",
    responses=problems(400, 409, schema="Problem"),
)
def decide_approval(run_id: UUID, key: str, body: DecisionBody, caller: OwnCaller) -> RunAnswer:
    """Approve or reject what waits for a person."""

    def decide(session: Session, actor: Actor, run_id: UUID, tools: Tools) -> WorkflowRun:
        return acts.decide(session, actor, run_id, key, body.decision, tools, body.comment)

    return _acted(caller, run_id, decide)


@router.get("/approvals", operation_id="list_approvals", responses=problems(schema="Problem"))
def list_approvals(caller: OwnCaller) -> ApprovalList:
    """List what waits for a person in the organization, oldest first."""
    with caller.session() as session:
        found = approvals.waiting(session, caller.actor)
    return ApprovalList(approvals=[ApprovalAnswer(**vars(item)) for item in found])


def _acted(caller: Caller, run_id: UUID, act: Act) -> RunAnswer:
    tools = Tools(caller.values, caller.context.settings.queue_rules)
    with caller.session() as session:
        act(session, caller.actor, run_id, tools)
    caller.context.hints()
    return _whole(caller, run_id)


def _whole(caller: Caller, run_id: UUID) -> RunAnswer:
    with caller.session() as session:
        view = read.get_run(session, caller.actor, run_id)
        answer = _run(view.run, view.slug, view.owner)
        is_final = RunState(view.run.state).is_final
        found, _ = read.nodes(session, caller.actor, run_id, outputs=is_final)
    return answer.model_copy(update={"nodes": _counts(found), "outputs": _outputs(view, found) if is_final else None})


def _counts(nodes: list[NodeView]) -> dict[NodeState, int]:
    counts: dict[NodeState, int] = {}
    for node in nodes:
        counts[node.state] = counts.get(node.state, 0) + 1
    return counts


def _outputs(view: RunView, nodes: list[NodeView]) -> dict[str, Any]:
    return terminal_outputs(view.version, nodes)


def _run(run: WorkflowRun, slug: str, owner: str) -> RunAnswer:
    names = set(RunAnswer.model_fields) - {"workflow", "owner", "state", "nodes", "outputs", "error"}
    return RunAnswer(
        workflow=slug,
        owner=owner,
        state=RunState(run.state),
        error=_fault(run.error_code, run.error_message),
        **{name: getattr(run, name) for name in names},
    )


def _node(view: NodeView) -> NodeAnswer:
    names = set(NodeAnswer.model_fields) - {"error"}
    return NodeAnswer(
        error=_fault(view.error_code, view.error_message), **{name: getattr(view, name) for name in names}
    )


def _item(view: ItemView) -> ItemAnswer:
    names = set(ItemAnswer.model_fields) - {"error"}
    return ItemAnswer(
        error=_fault(view.error_code, view.error_message), **{name: getattr(view, name) for name in names}
    )


def _fault(code: str | None, message: str | None) -> Fault | None:
    return None if code is None else Fault(code=code, message=message or "")
