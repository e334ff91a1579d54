"""Published paths about workflows and their versions; runs of them: api/published/workflow_runs."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import OptionalCaller, PublishedCaller
from mecapy_platform.api.published.views import moment, optional_moment
from mecapy_platform.api.published.workflow_models import (
    VersionDocument,
    VersionSummaries,
    VersionSummary,
    WorkflowCreateRequest,
    WorkflowEdgeModel,
    WorkflowListResponse,
    WorkflowNodeModel,
    WorkflowResponse,
    WorkflowSummary,
    WorkflowVersionRequest,
    WorkflowVersionResponse,
)
from mecapy_platform.api.strict_route import StrictRoute
from mecapy_platform.db.workflow_tables import WorkflowVersion
from mecapy_platform.services.work import Session
from mecapy_platform.services.workflows import lifecycle, read, versions
from mecapy_platform.services.workflows.lifecycle import NewWorkflow
from mecapy_platform.services.workflows.read import WorkflowView

router = APIRouter(prefix="/workflows", tags=["workflows"], route_class=StrictRoute)


@router.post("", operation_id="create_workflow", status_code=201, responses=problems(409))
def create_workflow(body: WorkflowCreateRequest, caller: PublishedCaller) -> WorkflowResponse:
    """Make an empty workflow. You become its owner."""
    organization_id = caller.organization_id(body.organization_slug)
    new = NewWorkflow(organization_id, body.slug, body.name, body.description)
    with caller.session() as session:
        return _workflow(session, lifecycle.create(session, caller.actor, new))


@router.get("", operation_id="list_workflows", responses=problems())
def list_workflows(
    caller: OptionalCaller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    include_archived: Annotated[bool, Query(description="Your own archived workflows too.")] = False,
) -> WorkflowListResponse:
    """The workflows that you may see, the last changed first. Without a token there are none."""
    if caller is None:
        return WorkflowListResponse(workflows=[], total=0)
    with caller.session() as session:
        page = read.list_page(session, caller.actor, limit=limit, include_archived=include_archived)
        return WorkflowListResponse(workflows=[_summary(view) for view in page.views], total=page.total)


@router.get("/{slug}", operation_id="get_workflow", responses=problems())
def get_workflow(slug: str, caller: PublishedCaller) -> WorkflowResponse:
    """A workflow, by slug or id, with the graph of its newest version."""
    with caller.session() as session:
        return _workflow(session, read.find(session, caller.actor, slug))


@router.delete("/{slug}", operation_id="delete_workflow", responses=problems(409))
def delete_workflow(slug: str, caller: PublishedCaller) -> dict[str, Any]:
    """Delete an archived workflow with its versions and runs; not while runs are tracked or live, or others use it."""
    with caller.session() as session:
        view = lifecycle.remove(session, caller.actor, slug)
        return {"message": f"Workflow {view.workflow.slug} is deleted.", "id": str(view.workflow.id)}


@router.post("/{slug}/archive", operation_id="archive_workflow", responses=problems())
def archive_workflow(slug: str, caller: PublishedCaller) -> WorkflowResponse:
    """Hide a workflow from lists; it takes no new versions and no new runs. A second time changes nothing."""
    with caller.session() as session:
        return _workflow(session, lifecycle.archive(session, caller.actor, slug))


@router.post("/{slug}/unarchive", operation_id="unarchive_workflow", responses=problems())
def unarchive_workflow(slug: str, caller: PublishedCaller) -> WorkflowResponse:
    """Bring an archived workflow back."""
    with caller.session() as session:
        return _workflow(session, lifecycle.unarchive(session, caller.actor, slug))


@router.post("/{slug}/versions", operation_id="save_workflow_version", status_code=201, responses=problems(409))
def save_workflow_version(slug: str, body: WorkflowVersionRequest, caller: PublishedCaller) -> WorkflowVersionResponse:
    """Keep a graph as the next version. One that does not hold is refused with its report in `detail`."""
    with caller.session() as session:
        saved = versions.save(session, caller.actor, slug, _document(body), text=body.document)
        answer = _version(saved.version, saved.graph, saved.version.number)
    return answer.model_copy(update={"warnings": [warning.as_dict() for warning in saved.report.warnings]})


@router.get("/{slug}/versions", operation_id="list_workflow_versions", responses=problems())
def list_workflow_versions(slug: str, caller: PublishedCaller) -> VersionSummaries:
    """All versions of a workflow, newest first, without their graphs."""
    with caller.session() as session:
        view = read.find(session, caller.actor, slug)
        rows = read.versions(session, view.workflow.id)
        return VersionSummaries(versions=[_version_summary(row, rows[0].number) for row in rows])


@router.get("/{slug}/versions/{version}", operation_id="get_workflow_version", responses=problems())
def get_workflow_version(slug: str, version: int, caller: PublishedCaller) -> WorkflowVersionResponse:
    """A version with its graph."""
    with caller.session() as session:
        view = read.find(session, caller.actor, slug)
        row = read.version(session, caller.actor, view, version)
        latest = row.number if view.latest is None else view.latest.number
        return _version(row, read.graph_json(session, row.id), latest)


@router.get("/{slug}/versions/{version}/document", operation_id="get_workflow_version_document", responses=problems())
def get_workflow_version_document(slug: str, version: int, caller: PublishedCaller) -> VersionDocument:
    """The YAML that a version was saved with, comments and all."""
    with caller.session() as session:
        view = read.find(session, caller.actor, slug)
        row = read.version(session, caller.actor, view, version)
        return VersionDocument(document=read.document_text(session, row.id))


@router.post("/{slug}/validate", operation_id="validate_workflow_version", responses=problems())
def validate_workflow_version(slug: str, body: WorkflowVersionRequest, caller: PublishedCaller) -> dict[str, Any]:
    """Judge a graph and keep nothing: a report with a list for each category, empty where the graph holds."""
    with caller.session() as session:
        return versions.check(session, caller.actor, slug, _document(body)).as_dict()


def _document(body: WorkflowVersionRequest) -> dict[str, Any]:
    return {"nodes": body.nodes, "edges": body.edges, "on_failure": body.on_failure}


def _workflow(session: Session, view: WorkflowView) -> WorkflowResponse:
    workflow, latest = view.workflow, view.latest
    return WorkflowResponse(
        id=str(workflow.id),
        slug=workflow.slug,
        name=workflow.name,
        description=workflow.description,
        owner_id=str(workflow.owner_id),
        organization_id=str(view.organization.id) if view.organization else None,
        organization_slug=view.organization.slug if view.organization else None,
        created_at=moment(workflow.created_at),
        updated_at=moment(workflow.updated_at),
        latest_version=None if latest is None else _version(latest, read.graph_json(session, latest.id), latest.number),
        visibility_effective=view.visibility,
        archived_at=optional_moment(workflow.archived_at),
    )


def _summary(view: WorkflowView) -> WorkflowSummary:
    workflow = view.workflow
    return WorkflowSummary(
        id=str(workflow.id),
        slug=workflow.slug,
        name=workflow.name,
        owner_id=str(workflow.owner_id),
        organization_slug=view.organization.slug if view.organization else None,
        node_count=0 if view.latest is None else view.latest.node_count,
        visibility_effective=view.visibility,
        updated_at=moment(workflow.updated_at),
        archived_at=optional_moment(workflow.archived_at),
    )


def _version(row: WorkflowVersion, graph: Mapping[str, Any], latest: int) -> WorkflowVersionResponse:
    return WorkflowVersionResponse(
        id=str(row.id),
        version=row.number,
        is_latest=row.number == latest,
        created_at=moment(row.created_at),
        nodes=[WorkflowNodeModel.model_validate(node) for node in graph.get("nodes", ())],
        edges=[WorkflowEdgeModel.model_validate(edge) for edge in graph.get("edges", ())],
        on_failure=graph.get("on_failure"),
    )


def _version_summary(row: WorkflowVersion, latest: int) -> VersionSummary:
    return VersionSummary(
        id=str(row.id),
        version=row.number,
        is_latest=row.number == latest,
        created_at=moment(row.created_at),
        created_by=str(row.created_by),
        node_count=row.node_count,
    )
