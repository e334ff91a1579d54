"""What a run works by: the graph of its version, which never changes, and the functions that it names, as they are."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only, make_transient

from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.graph import Body, Graph, Node
from mecapy_platform.core.workflows.layout import Layout, layout_of
from mecapy_platform.core.workflows.read import graph_of
from mecapy_platform.db import runs as statements
from mecapy_platform.db.tables import Function, Package, PackageVersion
from mecapy_platform.db.workflow_tables import WorkflowVersion

KNOWN_MOST = 200
FUNCTIONS_MOST = 2_000
READ_OF_VERSION = (
    *(PackageVersion.package_id, PackageVersion.organization_id, PackageVersion.version, PackageVersion.status),
    *(PackageVersion.runtime, PackageVersion.interpreter, PackageVersion.environment_digest),
    *(PackageVersion.archive_sha256, PackageVersion.error_message),
)


@dataclass(frozen=True)
class LoadedVersion:
    id: UUID
    workflow_id: UUID
    organization_id: UUID
    number: int
    graph: Graph
    layout: Layout


@dataclass(frozen=True)
class LoadedFunction:
    function: Function
    version: PackageVersion
    package: Package

    @property
    def system(self) -> UnitSystem:
        return UnitSystem(self.function.options.get("units") or UnitSystem.SI)


_known: OrderedDict[UUID, LoadedVersion] = OrderedDict()
_functions: OrderedDict[UUID, tuple[tuple[Any, ...], LoadedFunction]] = OrderedDict()  # with what may change of them
_lock = threading.Lock()


def load_version(session: Session, version_id: UUID) -> LoadedVersion:
    """Of a version that the caller may see. Raises NotFoundError "workflow_version_not_found"."""
    with _lock:
        if (known := _known.get(version_id)) is not None:
            _known.move_to_end(version_id)
            return known
    row = session.get(WorkflowVersion, version_id)
    if row is None:
        raise NotFoundError("workflow_version_not_found", "There is no such version of a workflow.")
    graph = graph_of(row.graph)
    loaded = LoadedVersion(row.id, row.workflow_id, row.organization_id, row.number, graph, layout_of(graph))
    with _lock:
        _known[version_id] = loaded
        while len(_known) > KNOWN_MOST:
            _known.popitem(last=False)
    return loaded


def load_functions(session: Session, function_ids: Iterable[UUID]) -> dict[UUID, LoadedFunction]:
    """As they are now: whether they may run is judged when a node starts. What is gone is left out.

    What does not change of them is read once; whoever asks sees only what this session may see.
    """
    wanted = list(set(function_ids))
    if not wanted:
        return {}
    rows = session.execute(statements.FUNCTIONS, {"ids": wanted}).all()
    now = {row[0]: tuple(row[1:]) for row in rows}
    with _lock:
        known = {function_id: _functions.get(function_id) for function_id in now}
    found = {key: kept[1] for key, kept in known.items() if kept is not None and kept[0] == now[key]}
    missing = [function_id for function_id in now if function_id not in found]
    if missing:
        read = _read_functions(session, missing)
        found |= read
        with _lock:
            _functions.update({function_id: (now[function_id], loaded) for function_id, loaded in read.items()})
            while len(_functions) > FUNCTIONS_MOST:
                _functions.popitem(last=False)
    return found


def _read_functions(session: Session, wanted: Iterable[UUID]) -> dict[UUID, LoadedFunction]:
    rows = session.execute(
        select(Function, PackageVersion, Package)
        .join(PackageVersion, PackageVersion.id == Function.package_version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .where(Function.id.in_(wanted))
        .options(load_only(*READ_OF_VERSION))
        .execution_options(populate_existing=True)
    ).all()
    found = {}
    for function, version, package in rows:
        for row in (function, version, package):
            make_transient(row)
        found[function.id] = LoadedFunction(function, version, package)
    return found


def bodies_of(node: Node) -> list[Body]:
    return [case.body for case in node.cases if case.body is not None]
