"""What a look at a run changes, until it is written: states of nodes, new calls, which calls may be carried."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.workflows.graph import Body
from mecapy_platform.core.workflows.states import NodeState
from mecapy_platform.db import runs as statements
from mecapy_platform.services.runs.inputs import as_json


@dataclass
class Sheet:
    """Of one look. `nodes`: what changes, by place; `feeds`: how many waiting calls of a node may be carried."""

    run: Any
    nodes: dict[int, dict[str, Any]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    feeds: dict[int, int] = field(default_factory=dict)

    def node(self, place: int, state: NodeState, **columns: Any) -> None:
        """What is None stays as it is, moments and errors apart, which go."""
        given = {name: value for name, value in columns.items() if value is not None}
        self.nodes[place] = {**self.nodes.get(place, {"place": place}), "state": state.value, **given}

    def outputs(self, place: int, values: dict[str, Any]) -> None:
        self.nodes.setdefault(place, {"place": place})["outputs"] = as_json(values)

    def call(self, node_id: UUID, body: Body, *, index: int = 0, inputs: dict[str, Any] | None = None) -> None:
        self.calls.append(
            {
                "node_id": node_id,
                "index": index,
                "function_id": body.function_version_id,
                "workflow_version_id": body.workflow_version_id,
                "inputs": None if inputs is None else as_json(inputs),
            }
        )

    def write_calls(self, session: Session) -> None:
        if self.calls:
            scope = {"organization_id": self.run.organization_id, "run_id": self.run.id}
            session.execute(statements.INSERT_CALLS, {**scope, "calls": plain(self.calls)})

    def write_nodes(self, session: Session) -> None:
        if self.nodes:
            changes = {"run_id": self.run.id, "nodes": plain(list(self.nodes.values()))}
            session.execute(statements.UPDATE_NODES, changes)


def plain(value: object) -> str:
    """JSON with ids and moments as text."""
    return json.dumps(value, separators=(",", ":"), default=_text)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no value of JSON")
