"""Starts runs of workflows that people name; how a run goes on is services/runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import ConflictError
from mecapy_platform.core.workflows.problems import GraphProblem
from mecapy_platform.db.tables import Function, Package, PackageVersion
from mecapy_platform.db.workflow_tables import WorkflowVersionUse
from mecapy_platform.services.runs import submit
from mecapy_platform.services.runs.requests import RunOptions, RunRequest
from mecapy_platform.services.runs.submit import SubmittedRun
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.workflows import read


@dataclass(frozen=True)
class AskedRun:
    """`version` None: the newest."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    options: RunOptions = field(default_factory=RunOptions)
    idempotency_key: str | None = None


@dataclass(frozen=True)
class StartedRun:
    submitted: SubmittedRun
    warnings: Sequence[GraphProblem]


def start(session: Session, actor: Actor, slug: str, asked: AskedRun, tools: Tools) -> StartedRun:
    """Start a run of a workflow that the actor may see.

    Raises
    ------
    ConflictError
        "workflow_archived", "workflow_without_version", and what services/runs/submit refuses.
    """
    view = read.find(session, actor, slug)
    workflow = view.workflow
    if workflow.archived_at is not None:
        raise ConflictError(
            "workflow_archived", f"Workflow {workflow.slug} is archived; its owner can bring it back with unarchive."
        )
    if view.latest is None:
        raise ConflictError("workflow_without_version", f"Workflow {workflow.slug} has no version yet; save one first.")
    version = view.latest if asked.version is None else read.version(session, actor, view, asked.version)
    visibility = read.visibility_of(session, version.id)
    request = RunRequest(version.id, asked.inputs, asked.options, visibility)
    submitted = submit.submit(session, actor, request, tools=tools, idempotency_key=asked.idempotency_key)
    return StartedRun(submitted, _warnings(session, version.id))


def _warnings(session: Session, version_id: UUID) -> list[GraphProblem]:
    """What a version uses that was withdrawn since it was saved; it goes on working."""
    names = (
        select(Package.name, func.min(Function.name))
        .join(PackageVersion, PackageVersion.package_id == Package.id)
        .join(Function, Function.package_version_id == PackageVersion.id)
        .join(WorkflowVersionUse, WorkflowVersionUse.function_id == Function.id)
        .where(WorkflowVersionUse.workflow_version_id == version_id, Package.yanked_at.is_not(None))
        .group_by(Package.name)
        .order_by(Package.name)
    )
    return [
        GraphProblem(
            "function_yanked",
            f"Package {package} ({function}) was yanked: it goes on working, but its owner advises against it.",
        )
        for package, function in session.execute(names)
    ]
