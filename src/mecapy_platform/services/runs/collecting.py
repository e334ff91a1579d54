"""Collects what the items of a map have given into lists, in the order of the items."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.errors import TooLargeError
from mecapy_platform.core.types import FileType, ListType
from mecapy_platform.core.workflows.graph import ItemFailure, Node
from mecapy_platform.core.workflows.ports import FAILED_PORT
from mecapy_platform.core.workflows.signatures import Port, Ports
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db import runs as statements
from mecapy_platform.services.runs.inputs import stored_file
from mecapy_platform.services.runs.values import RunValues

MAP_BYTES = 16 << 20  # of all items together, as the result of a task: whoever advances a run holds them


def collect(session: Session, node: Node, node_id: UUID, ports: Ports, values: RunValues) -> dict[str, Any]:
    """A list for each output, and the number of items that failed. Those are left out, or null, as the node says.

    Raises TooLargeError "map_result_too_large".
    """
    size_bytes = int(session.scalar(statements.ITEMS_BYTES, {"node_id": node_id}) or 0)
    if size_bytes > MAP_BYTES:
        message = f"The items of the map have given {size_bytes} bytes, the limit is {MAP_BYTES}; let them write files."
        raise TooLargeError("map_result_too_large", message)
    names = [name for name in ports if name != FAILED_PORT]
    lists: dict[str, list[Any]] = {name: [] for name in names}
    failed = 0
    rows = session.execute(statements.ITEMS, {"node_id": node_id}).all()
    files = _files(session, rows, {name for name in names if _is_list_of_files(ports[name])})
    for row in rows:
        if row.state == CallState.COMPLETED:
            given = values.loaded(row.result_organization_id, row.result, row.result_ref)
            given |= files.get(row.task_id, {})
            for name in names:
                lists[name].append(given.get(name))
            continue
        failed += 1
        if node.on_item_failure is ItemFailure.NULL:
            for name in names:
                lists[name].append(None)
    return {**lists, FAILED_PORT: failed}


def _files(session: Session, rows: Sequence[Any], names: Collection[str]) -> dict[UUID, dict[str, Any]]:
    """What tasks have given as files stands in no result: by task, the files of these outputs as where they lie."""
    found: dict[UUID, dict[str, Any]] = {}
    task_ids = [row.task_id for row in rows if row.task_id is not None and row.state == CallState.COMPLETED]
    if names and task_ids:
        for row in session.execute(statements.FILES, {"task_ids": task_ids}):
            if row.name in names:
                found.setdefault(row.task_id, {})[row.name] = stored_file(row).as_json()
    return found


def _is_list_of_files(port: Port) -> bool:
    return isinstance(port.type, ListType) and isinstance(port.type.element, FileType)
