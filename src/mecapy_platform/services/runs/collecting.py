"""Collects what the items of a map have given into lists, in the order of the items."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.workflows.graph import ItemFailure, Node
from mecapy_platform.core.workflows.ports import FAILED_PORT
from mecapy_platform.core.workflows.signatures import Ports
from mecapy_platform.core.workflows.states import CallState
from mecapy_platform.db import runs as statements
from mecapy_platform.services.runs.values import RunValues


def collect(session: Session, node: Node, node_id: UUID, ports: Ports, values: RunValues) -> dict[str, Any]:
    """A list for each output, and the number of items that failed. Those are left out, or null, as the node says."""
    names = [name for name in ports if name != FAILED_PORT]
    lists: dict[str, list[Any]] = {name: [] for name in names}
    failed = 0
    for row in session.execute(statements.ITEMS, {"node_id": node_id}):
        if row.state == CallState.COMPLETED:
            given = values.loaded(row.result_organization_id, row.result, row.result_ref)
            for name in names:
                lists[name].append(given.get(name))
            continue
        failed += 1
        if node.on_item_failure is ItemFailure.NULL:
            for name in names:
                lists[name].append(None)
    return {**lists, FAILED_PORT: failed}
