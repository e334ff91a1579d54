"""Published paths of runs. They advance by themselves: `tick` looks, and changes nothing."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Caller, PublishedCaller
from mecapy_platform.api.published.run_models import (
    WorkflowRunListResponse,
    WorkflowRunRequest,
    WorkflowRunResponse,
)
from mecapy_platform.api.published.run_views import render_run, render_summary
from mecapy_platform.api.published.views import parse_id
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.core.access import Actor
from mecapy_platform.services.runs import read, tracking
from mecapy_platform.services.runs.read import RunFilter, RunView
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.work import Session
from mecapy_platform.services.workflows import running
from mecapy_platform.services.workflows.running import AskedRun

router = APIRouter(tags=["workflow runs"], route_class=StrictRoute)
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


@router.post(
    "/workflows/{slug}/runs",
    operation_id="submit_workflow_run",
    status_code=201,
    response_model=WorkflowRunResponse,
    responses=problems(409, 429, 507),
)
def submit_workflow_run(
    slug: str, body: WorkflowRunRequest, caller: PublishedCaller, idempotency_key: Key = None
) -> Response:
    """Start a run of the newest version; what is ready starts at once. 422 names required inputs that are missing."""
    asked = AskedRun(body.inputs, body.version, body.options(), idempotency_key)
    with caller.accepting() as session:
        started = running.start(session, caller.actor, slug, asked, _tools(caller))
    caller.context.hints(*started.submitted.lanes)
    with caller.session() as session:
        view = read.get_run(session, caller.actor, started.submitted.run_id)
        nodes, _ = read.nodes(session, caller.actor, view.run.id)
        return render_run(caller, session, view, nodes, warnings=started.warnings, status_code=201)


@router.get("/workflow-runs", operation_id="list_workflow_runs", responses=problems())
def list_workflow_runs(
    caller: PublishedCaller, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> WorkflowRunListResponse:
    """Your own runs, newest first."""
    with caller.session() as session:
        found, total = read.list_runs(session, caller.actor, RunFilter(user_id=caller.actor.user_id), limit=limit)
        return WorkflowRunListResponse(runs=[render_summary(run, slug) for run, slug in found], total=total)


@router.get(
    "/workflow-runs/{run_id}",
    operation_id="get_workflow_run",
    response_model=WorkflowRunResponse,
    responses=problems(),
)
def get_workflow_run(run_id: str, caller: PublishedCaller) -> Response:
    """A run with its nodes and, once it has ended, its outputs."""
    return _answer(caller, run_id)


@router.get("/workflow-runs/{run_id}/plan", operation_id="get_workflow_run_plan", responses=problems())
def get_workflow_run_plan(run_id: str, caller: PublishedCaller) -> dict[str, Any]:
    """The plan of a run, frozen at its start: chains, and waves of chains."""
    with caller.session() as session:
        return _own(session, caller, run_id).run.plan


@router.post(
    "/workflow-runs/{run_id}/tick",
    operation_id="tick_workflow_run",
    response_model=WorkflowRunResponse,
    responses=problems(),
)
def tick_workflow_run(run_id: str, caller: PublishedCaller) -> Response:
    """The run as it is. Runs advance by themselves; this path is for clients that still ask for it."""
    return _answer(caller, run_id)


@router.post(
    "/workflow-runs/{run_id}/qa-track",
    operation_id="qa_track_workflow_run",
    response_model=WorkflowRunResponse,
    responses=problems(409),
)
def qa_track_workflow_run(run_id: str, caller: PublishedCaller) -> Response:
    """Keep the rows and files of a run from every clean-up. A second time changes nothing."""
    return _acted(caller, run_id, tracking.track)


@router.post(
    "/workflow-runs/{run_id}/qa-untrack",
    operation_id="qa_untrack_workflow_run",
    response_model=WorkflowRunResponse,
    responses=problems(409),
)
def qa_untrack_workflow_run(run_id: str, caller: PublishedCaller) -> Response:
    """Take the mark of quality back."""
    return _acted(caller, run_id, tracking.untrack)


def _tools(caller: Caller) -> Tools:
    return Tools(caller.values, caller.context.settings.queue_rules)


def _own(session: Session, caller: Caller, run_id: str) -> RunView:
    view = read.get_run(session, caller.actor, parse_id(run_id, "run"))
    tracking.require_own(caller.actor, view.run)
    return view


def _answer(caller: Caller, run_id: str) -> Response:
    with caller.session() as session:
        view = _own(session, caller, run_id)
        nodes, _ = read.nodes(session, caller.actor, view.run.id)
        return render_run(caller, session, view, nodes)


def _acted(caller: Caller, run_id: str, act: Callable[[Session, Actor, UUID], None]) -> Response:
    with caller.session() as session:
        act(session, caller.actor, parse_id(run_id, "run"))
    return _answer(caller, run_id)
