"""Renders runs in the published shapes. Nodes of our kinds stand beside the published ones."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from starlette.responses import Response

from mecapy_platform.api.deps import Caller
from mecapy_platform.api.published.run_models import WorkflowRunResponse, WorkflowRunSummary
from mecapy_platform.api.published.views import moment, optional_moment
from mecapy_platform.api.spliced import Pieces, respond, value_pieces
from mecapy_platform.core.workflows.graph import NodeKind
from mecapy_platform.core.workflows.ports import terminal_keys
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.core.workflows.states import NodeState, RunState
from mecapy_platform.db.tables import StoredValue
from mecapy_platform.db.workflow_tables import WorkflowRun
from mecapy_platform.services.runs.loading import LoadedVersion
from mecapy_platform.services.runs.read import PUBLISHED_RUN, NodeView, RunView, parsed_outputs, published_node_states
from mecapy_platform.services.runs.systems import systems
from mecapy_platform.services.tasks.values import Lying
from mecapy_platform.services.work import Session


def render_run(
    caller: Caller,
    session: Session,
    view: RunView,
    nodes: Sequence[NodeView],
    *,
    warnings: Sequence[GraphProblem] = (),
    status_code: int = 200,
) -> Response:
    """The whole answer. What nodes gave, and inputs that lie in storage, are put in as they lie."""
    run = view.run
    is_final = RunState(run.state).is_final
    answer = WorkflowRunResponse(
        id=str(run.id),
        workflow_version_id=str(run.workflow_version_id),
        user_id=str(run.user_id),
        status=PUBLISHED_RUN[RunState(run.state)],
        started_at=moment(began_at(run)),
        completed_at=optional_moment(run.completed_at),
        terminal_outputs=None,
        visibility_snapshot=run.visibility_snapshot,
        error_message=run.error_message,
        first_failed_node_key=run.first_failed_node_key,
        plan_snapshot=run.plan,
        qa_tracked=run.qa_tracked_at is not None,
        qa_tracked_at=optional_moment(run.qa_tracked_at),
        qa_tracked_by=None if run.qa_tracked_by is None else str(run.qa_tracked_by),
        state=run.state,
        held_reason=run.held_reason,
        error_code=run.error_code,
        workflow_slug=view.slug,
        change=run.change,
        units=systems(session, view.version, nodes),
        warnings=[warning.as_dict() for warning in warnings],
    )
    spliced = {
        "inputs": _inputs(caller, session, run),
        "terminal_outputs": terminal_outputs(view.version, nodes, _as_it_lies) if is_final else None,
        "node_states": published_node_states(nodes, _as_it_lies),
        "other_nodes": {node.key: _other(node) for node in nodes if node.kind is not NodeKind.FUNCTION},
    }
    response = respond({**answer.model_dump(mode="json"), **spliced})
    response.status_code = status_code
    return response


def render_summary(run: WorkflowRun, slug: str) -> WorkflowRunSummary:
    began, ended = began_at(run), run.completed_at
    return WorkflowRunSummary(
        id=str(run.id),
        workflow_slug=slug,
        status=PUBLISHED_RUN[RunState(run.state)],
        started_at=moment(began),
        completed_at=optional_moment(ended),
        duration_ms=None if ended is None else round((ended - began).total_seconds() * 1000),
        qa_tracked=run.qa_tracked_at is not None,
    )


def began_at(run: WorkflowRun) -> datetime:
    return run.started_at or run.created_at


def terminal_outputs(
    version: LoadedVersion, nodes: Sequence[NodeView], outputs: Callable[[NodeView], Any] = parsed_outputs
) -> dict[str, Any]:
    """Outputs of the nodes that feed no other; of one that failed, those of the node that stood in for it."""
    views = {node.key: node for node in nodes}
    found: dict[str, Any] = {}
    for key in terminal_keys(version.graph):
        at: str | None = key
        while at in views and views[at].state is not NodeState.COMPLETED:
            at = version.graph.nodes[at].fallback
        if at in views:
            found[at] = outputs(views[at])
    return found


def _other(node: NodeView) -> dict[str, Any]:
    """A node of a kind of ours."""
    return {
        "kind": node.kind.value,
        "state": node.state.value,
        "tries": node.tries,
        "branch": node.branch,
        "items": node.items,
        "outputs": _as_it_lies(node),
        "run_id": None if node.child_run_id is None else str(node.child_run_id),
        "job_id": None if node.task_id is None else str(node.task_id),
        "decision": node.decision,
        "error": node.error_message,
        "error_code": node.error_code,
        "started_at": optional_moment(node.started_at),
        "completed_at": optional_moment(node.completed_at),
    }


def _as_it_lies(node: NodeView) -> Pieces | None:
    return None if node.outputs_text is None else Pieces((node.outputs_text.encode(),), is_large=False)


def _inputs(caller: Caller, session: Session, run: WorkflowRun) -> Pieces | dict[str, Any] | None:
    if run.inputs_ref is None:
        return run.inputs
    stored = session.get_one(StoredValue, run.inputs_ref)
    return value_pieces(caller, run.id, "inputs", Lying(key=stored.key))
