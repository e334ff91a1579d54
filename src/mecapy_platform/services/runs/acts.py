"""What people do to a run: cancel, pause, resume, decide, try again, adopt. Each marks it and advances what it may.

What starts by an act is started by the platform a moment later: whoever acts may see less than the run's user.
"""

from dataclasses import replace
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor, Role, require_admin, require_submit
from mecapy_platform.core.errors import ConflictError, ForbiddenError, NotFoundError
from mecapy_platform.core.workflows.graph import NodeKind
from mecapy_platform.core.workflows.states import NodeState, RunState
from mecapy_platform.db import runs as statements
from mecapy_platform.db.workflow_tables import RunNode, WorkflowRun
from mecapy_platform.services.runs.advance import advance
from mecapy_platform.services.runs.loading import load_version
from mecapy_platform.services.runs.tools import Tools

APPROVE, REJECT = "approve", "reject"
LIVE = (RunState.PENDING, RunState.RUNNING, RunState.PAUSED)


def find(session: Session, actor: Actor, run_id: UUID, *, is_locked: bool = False) -> WorkflowRun:
    """A run that the actor may see. Raises NotFoundError "run_not_found"."""
    query = select(WorkflowRun).where(WorkflowRun.id == run_id, WorkflowRun.organization_id.in_(actor.organization_ids))
    run = session.scalars(query.with_for_update() if is_locked else query).first()
    if run is None:
        raise NotFoundError("run_not_found", "There is no such run.")
    return run


def cancel(session: Session, actor: Actor, run_id: UUID, tools: Tools) -> WorkflowRun:
    """Ask for the end of a run. One that has ended is answered as it is."""
    run = _own(session, actor, run_id)
    if not RunState(run.state).is_final and run.cancel_requested_at is None:
        run.cancel_requested_at = func.clock_timestamp()
    return _acted(session, run, tools)


def pause(session: Session, actor: Actor, run_id: UUID, tools: Tools) -> WorkflowRun:
    """Nothing new starts; what runs goes on to its end, and so does the deadline. So it is for runs inside it."""
    run = _own(session, actor, run_id)
    _check(run, RunState.PAUSED)
    _set_state(session, run, (RunState.PENDING, RunState.RUNNING), RunState.PAUSED)
    return _acted(session, run, tools)


def resume(session: Session, actor: Actor, run_id: UUID, tools: Tools) -> WorkflowRun:
    run = _own(session, actor, run_id)
    _check(run, RunState.RUNNING)
    _set_state(session, run, (RunState.PAUSED,), RunState.RUNNING)
    return _acted(session, run, tools)


def retry(session: Session, actor: Actor, run_id: UUID, tools: Tools) -> WorkflowRun:
    """Go on with a run that has failed, was cancelled, or came to its deadline: what has ended well stays."""
    run = _own(session, actor, run_id)
    if RunState(run.state) not in {RunState.FAILED, RunState.CANCELLED, RunState.TIMEOUT}:
        raise ConflictError("run_not_failed", "Only a run that failed, was cancelled or timed out can be tried again.")
    if run.parent_call_id is not None:
        raise ConflictError("run_is_inner", "This run is part of another one; try that one again.")
    ended = (NodeState.FAILED, NodeState.CANCELLED, NodeState.SKIPPED)
    rows = session.scalars(select(RunNode).where(RunNode.run_id == run_id, RunNode.state.in_(ended))).all()
    stood_for = _stood_for(session, run)
    again = [row.id for row in rows if row.key not in stood_for]
    session.execute(statements.TRY_AGAIN, {"node_ids": again})
    session.execute(
        update(RunNode)
        .where(RunNode.id.in_(again))
        .values(
            state=NodeState.PENDING, error_code=None, error_message=None, started_at=None, completed_at=None,
            not_before=None, decision=None, decided_by=None,
        )
    )  # fmt: skip
    run.state = RunState.RUNNING
    run.cancel_requested_at = run.deadline_at = run.completed_at = None
    run.first_failed_node_key = run.error_code = run.error_message = None
    return _acted(session, run, tools)


def decide(
    session: Session, actor: Actor, run_id: UUID, key: str, decision: str, tools: Tools, comment: str | None = None
) -> WorkflowRun:
    """Approve or reject what waits for a person of the node's role."""
    run = find(session, actor, run_id, is_locked=True)
    version = load_version(session, run.workflow_version_id)
    node = version.graph.nodes.get(key)
    if node is None or node.kind is not NodeKind.APPROVAL:
        raise NotFoundError("approval_not_found", "There is no such approval in this run.")
    if node.role == Role.ADMIN:
        require_admin(actor, run.organization_id)
    else:
        require_submit(actor, run.organization_id)
    row = session.scalars(select(RunNode).where(RunNode.run_id == run_id, RunNode.key == key)).one()
    if row.state != NodeState.WAITING or row.decision is not None:
        raise ConflictError("approval_not_open", "It does not wait for a decision: see its state.")
    row.decision, row.decided_by = decision, actor.user_id
    if comment:
        row.outputs = {**(row.outputs or {}), "comment": comment}
    return _acted(session, run, tools)


def adopt(session: Session, actor: Actor, run_id: UUID, tools: Tools) -> WorkflowRun:
    """Take over a run whose user may no longer start anything: from now on it goes on with the actor's rights."""
    run = find(session, actor, run_id, is_locked=True)
    require_admin(actor, run.organization_id)
    if run.held_reason is None:
        raise ConflictError("run_not_held", "The run is not held; there is nothing to take over.")
    inside = (WorkflowRun.id == run_id) | (WorkflowRun.root_run_id == run_id)
    session.execute(update(WorkflowRun).where(inside).values(user_id=actor.user_id))
    return _acted(session, run, tools)


def _own(session: Session, actor: Actor, run_id: UUID) -> WorkflowRun:
    run = find(session, actor, run_id, is_locked=True)
    require_submit(actor, run.organization_id)
    if run.user_id != actor.user_id and actor.role_in(run.organization_id) is not Role.ADMIN:
        raise ForbiddenError("run_of_another", "Only the run's user and administrators may do this.")
    return run


def _check(run: WorkflowRun, wanted: RunState) -> None:
    if RunState(run.state) not in LIVE:
        raise ConflictError("run_has_ended", f"The run is {run.state}; it cannot be {wanted} any more.")


def _set_state(session: Session, run: WorkflowRun, before: tuple[RunState, ...], after: RunState) -> None:
    """Of the run and all that is inside it, each of which is marked."""
    inside = (WorkflowRun.id == run.id) | (WorkflowRun.root_run_id == run.id)
    changed = session.scalars(
        update(WorkflowRun).where(inside, WorkflowRun.state.in_(before)).values(state=after).returning(WorkflowRun.id)
    )
    for run_id in changed.all():
        if run_id != run.id:
            session.execute(statements.MARK_RUN, {"run_id": run_id})


def _stood_for(session: Session, run: WorkflowRun) -> set[str]:
    """Failed nodes whose fallback has given in their stead: nothing of these is to be done again."""
    layout = load_version(session, run.workflow_version_id).layout
    done = select(RunNode.place).where(RunNode.run_id == run.id, RunNode.state == NodeState.COMPLETED)
    return {layout.nodes[primary].key for place in session.scalars(done) for primary in layout.stands_for[place]}


def _acted(session: Session, run: WorkflowRun, tools: Tools) -> WorkflowRun:
    session.flush()
    session.execute(statements.MARK_RUN, {"run_id": run.id})
    advance(session, run.id, replace(tools, starts=False))
    session.refresh(run)
    return run
