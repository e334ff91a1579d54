"""Says which nodes of a run gave numbers in another unit system than SI: that of the package that they called."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.graph import Node
from mecapy_platform.db.tables import Function
from mecapy_platform.services.runs.loading import LoadedVersion
from mecapy_platform.services.runs.read import NodeView


def systems(session: Session, version: LoadedVersion, views: Sequence[NodeView]) -> dict[str, str]:
    """By key of the node. What an inner workflow gives is in SI, whatever lies in it."""
    called = {view.key: _function_of(version.graph.nodes[view.key], view.branch) for view in views}
    wanted = {function_id for function_id in called.values() if function_id is not None}
    rows = session.execute(select(Function.id, Function.options).where(Function.id.in_(wanted)))
    units = {row.id: row.options.get("units") or UnitSystem.SI for row in rows}
    found = {key: units.get(function_id, UnitSystem.SI) for key, function_id in called.items() if function_id}
    return {key: str(system) for key, system in found.items() if system != UnitSystem.SI}


def _function_of(node: Node, branch: int | None) -> UUID | None:
    bodies = [case.body for case in node.cases]
    body = bodies[branch] if branch is not None else next((body for body in bodies if body is not None), None)
    return None if body is None else body.function_version_id
