"""Looks up the functions and workflows that a graph names, among those that the caller may use."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.access import Actor
from mecapy_platform.core.states import VersionStatus
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.graph import Graph
from mecapy_platform.core.workflows.signatures import (
    Catalog,
    FunctionSignature,
    Ports,
    WorkflowSignature,
    ports_of_function,
)
from mecapy_platform.db.tables import Function, Organization, Package, PackageVersion
from mecapy_platform.db.workflow_tables import Workflow, WorkflowVersion, WorkflowVersionUse
from mecapy_platform.services.packages.read import may_see as may_see_package
from mecapy_platform.services.workflows.visibility import effective, may_see, shown

PERSONAL = "user:"


def load_catalog(session: Session, actor: Actor, graph: Graph) -> Catalog:
    """What is not there, not visible, archived or broken is left out, and so unknown to the graph."""
    bodies = [case.body for node in graph.nodes.values() for case in node.cases if case.body is not None]
    function_ids = {body.function_version_id for body in bodies if body.function_version_id is not None}
    version_ids = {body.workflow_version_id for body in bodies if body.workflow_version_id is not None}
    return Catalog(_functions(session, actor, function_ids), _workflows(session, actor, version_ids))


def _functions(session: Session, actor: Actor, ids: Iterable[UUID]) -> dict[UUID, FunctionSignature]:
    query = (
        select(
            *(Function.id, Function.name, Function.package_version_id, Function.inputs, Function.outputs),
            *(Function.options, PackageVersion.version, PackageVersion.status, Package, Organization.slug),
        )
        .join(PackageVersion, PackageVersion.id == Function.package_version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .join(Organization, Organization.id == Package.organization_id)
        .where(Function.id.in_(list(ids)), Function.organization_id.in_(actor.organization_ids))
    )
    found = {}
    for row in session.execute(query):
        package = row.Package
        if row.status == VersionStatus.ERROR or package.archived_at is not None or not may_see_package(actor, package):
            continue
        system = UnitSystem(row.options.get("units") or UnitSystem.SI)
        is_building = row.status == VersionStatus.BUILDING
        found[row.id] = FunctionSignature(
            row.id,
            f"{row.slug.removeprefix(PERSONAL)}/{package.name}:{row.name}@{row.version}",
            row.package_version_id,
            ports_of_function(row.inputs, system),
            ports_of_function(row.outputs, system),
            "its version is still being built" if is_building else "annotate its arguments and its result",
            package.yanked_at is not None,
        )
    return found


def _workflows(session: Session, actor: Actor, ids: Iterable[UUID]) -> dict[UUID, WorkflowSignature]:
    query = (
        select(
            *(WorkflowVersion.id, WorkflowVersion.number, WorkflowVersion.interface, WorkflowVersion.depth),
            *(Workflow, Organization.slug),
        )
        .join(Workflow, Workflow.id == WorkflowVersion.workflow_id)
        .join(Organization, Organization.id == Workflow.organization_id)
        .where(WorkflowVersion.id.in_(list(ids)), WorkflowVersion.organization_id.in_(actor.organization_ids))
    )
    rows = session.execute(query).all()
    visibilities = effective(session, [row.id for row in rows])
    contained = _contained(session, [row.id for row in rows])
    return {
        row.id: WorkflowSignature(
            row.id,
            f"{row.slug.removeprefix(PERSONAL)}/{row.Workflow.slug}@{row.number}",
            row.Workflow.id,
            *interface_ports(row.interface or {}),
            row.depth,
            contained.get(row.id, frozenset()),
            row.Workflow.archived_at is not None,
        )
        for row in rows
        if may_see(actor, row.Workflow, shown(visibilities, row.id))
    }


def interface_ports(interface: Mapping[str, Mapping[str, Mapping[str, object]]]) -> tuple[Ports, Ports]:
    """The inputs and outputs of a version as they were stored with it, in SI."""
    sides = (ports_of_function(interface.get(side, {}), UnitSystem.SI) for side in ("inputs", "outputs"))
    inputs, outputs = (ports or {} for ports in sides)
    return inputs, outputs


def _contained(session: Session, ids: Iterable[UUID]) -> dict[UUID, frozenset[UUID]]:
    """The workflows that these versions use, at any depth."""
    query = (
        select(WorkflowVersionUse.workflow_version_id, WorkflowVersion.workflow_id)
        .join(WorkflowVersion, WorkflowVersion.id == WorkflowVersionUse.used_version_id)
        .where(WorkflowVersionUse.workflow_version_id.in_(list(ids)))
    )
    found: dict[UUID, set[UUID]] = {}
    for version_id, workflow_id in session.execute(query):
        found.setdefault(version_id, set()).add(workflow_id)
    return {version_id: frozenset(workflows) for version_id, workflows in found.items()}
