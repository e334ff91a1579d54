"""Judges graphs and keeps them as versions. What was kept never changes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import ConflictError
from mecapy_platform.core.workflows.graph import Graph
from mecapy_platform.core.workflows.json_form import as_json
from mecapy_platform.core.workflows.ports import workflow_ports
from mecapy_platform.core.workflows.read import check_size, read_graph, refused
from mecapy_platform.core.workflows.signatures import Catalog, Ports
from mecapy_platform.core.workflows.validation import Report, validate
from mecapy_platform.db.workflow_tables import WorkflowVersion, WorkflowVersionUse
from mecapy_platform.services.workflows.catalog import load_catalog
from mecapy_platform.services.workflows.read import find_to_change

UNKNOWN_IDS = frozenset({"unknown_function_version", "unknown_workflow_version"})


@dataclass(frozen=True)
class Judged:
    """A graph that has the right form, what it names, and what the validation says of it."""

    graph: Graph
    form: Mapping[str, Any]
    catalog: Catalog
    report: Report


@dataclass(frozen=True)
class Saved:
    version: WorkflowVersion
    graph: Mapping[str, Any]
    report: Report


def judge(session: Session, actor: Actor, document: object, *, workflow_id: UUID | None = None) -> Judged:
    """Read and validate a graph.

    Raises
    ------
    InvalidInputError
        "graph_invalid" for nodes and edges that do not have the form of their kind.
    TooLargeError
        "graph_too_large" above a limit.
    """
    read = read_graph(document)
    if malformed := [problem for problem in read.problems if problem.code not in UNKNOWN_IDS]:
        raise refused(malformed)
    form = as_json(read.graph)
    check_size(len(json.dumps(form)))
    catalog = load_catalog(session, actor, read.graph)
    return Judged(read.graph, form, catalog, validate(read.graph, catalog, read=read.problems, workflow_id=workflow_id))


def check(session: Session, actor: Actor, slug: str, document: object) -> Report:
    """The report of a graph for this workflow; nothing is kept."""
    view = find_to_change(session, actor, slug)
    return judge(session, actor, document, workflow_id=view.workflow.id).report


def save(session: Session, actor: Actor, slug: str, document: object, *, text: str | None = None) -> Saved:
    """Keep a graph as the next version. `text`: the YAML that it came from.

    Raises
    ------
    ConflictError
        "workflow_archived", and "workflow_graph_invalid" with the report in `detail`.
    """
    view = find_to_change(session, actor, slug, locked=True)
    workflow = view.workflow
    if workflow.archived_at is not None:
        raise ConflictError(
            "workflow_archived", f"Workflow {workflow.slug} is archived; unarchive it before you save a version."
        )
    judged = judge(session, actor, document, workflow_id=workflow.id)
    if not judged.report.is_valid:
        raise ConflictError(
            "workflow_graph_invalid",
            "The graph does not hold; see the report in `detail`.",
            problems=[problem.as_problem() for problem in judged.report.problems[:200]],
            report=judged.report.as_dict(),
        )
    version = WorkflowVersion(
        organization_id=workflow.organization_id,
        workflow_id=workflow.id,
        number=1 if view.latest is None else view.latest.number + 1,
        graph=dict(judged.form),
        interface=_interface(judged),
        node_count=len(judged.graph.nodes),
        depth=judged.report.depth,
        document=text,
        created_by=actor.user_id,
    )
    session.add(version)
    session.flush()
    _note_uses(session, version, judged.catalog)
    workflow.updated_at = func.now()
    session.flush()
    session.refresh(workflow)
    return Saved(version, judged.form, judged.report)


def _interface(judged: Judged) -> dict[str, Any]:
    """The ports of the version as a node, in SI: types as texts that read back to the same."""
    ports = workflow_ports(judged.graph, judged.catalog)
    return {"inputs": _stored(ports.inputs or {}), "outputs": _stored(ports.outputs or {})}


def _stored(ports: Ports) -> dict[str, Any]:
    return {name: {"type": str(port.type), "required": port.required} for name, port in ports.items()}


def _note_uses(session: Session, version: WorkflowVersion, catalog: Catalog) -> None:
    """Everything that the version uses, by itself or through the workflows in it."""
    functions, versions = set(catalog.functions), set(catalog.workflows)
    inner = select(WorkflowVersionUse).where(WorkflowVersionUse.workflow_version_id.in_(list(catalog.workflows)))
    for use in session.scalars(inner).all():
        if use.function_id is not None:
            functions.add(use.function_id)
        if use.used_version_id is not None:
            versions.add(use.used_version_id)
    common = {"workflow_version_id": version.id, "organization_id": version.organization_id}
    session.add_all(WorkflowVersionUse(function_id=function_id, **common) for function_id in sorted(functions))
    session.add_all(WorkflowVersionUse(used_version_id=version_id, **common) for version_id in sorted(versions))
