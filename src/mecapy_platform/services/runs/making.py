"""Writes a run and its nodes: of a caller, or of a node of another run whose body is a workflow."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from mecapy_platform.core.ids import new_id
from mecapy_platform.db import runs as statements
from mecapy_platform.db.workflow_tables import WorkflowRun
from mecapy_platform.services.runs.loading import LoadedVersion
from mecapy_platform.services.runs.requests import RunOptions
from mecapy_platform.services.values import ValueStore


@dataclass(frozen=True)
class Parent:
    """The call that a run is, and the run at the top."""

    call_id: UUID
    root_run_id: UUID | None
    depth: int


@dataclass(frozen=True)
class NewRun:
    organization_id: UUID
    user_id: UUID
    version: LoadedVersion
    inputs: Mapping[str, Any]
    options: RunOptions
    plan: Mapping[str, Any]
    visibility: str
    parent: Parent | None = None
    rerun_of: UUID | None = None


def make(session: Session, new: NewRun, values: ValueStore, run_id: UUID | None = None) -> UUID:
    """The run, pending, with a row for each node."""
    run_id = run_id or new_id()
    inputs_ref = values.keep(new.organization_id, new.inputs)
    deadline = new.options.deadline_seconds
    session.add(
        WorkflowRun(
            id=run_id,
            organization_id=new.organization_id,
            user_id=new.user_id,
            workflow_id=new.version.workflow_id,
            workflow_version_id=new.version.id,
            inputs=dict(new.inputs) if inputs_ref is None else None,
            inputs_ref=inputs_ref,
            options=new.options.stored(),
            plan=json.loads(json.dumps(new.plan)),
            visibility_snapshot=new.visibility,
            parent_call_id=None if new.parent is None else new.parent.call_id,
            root_run_id=None if new.parent is None else new.parent.root_run_id,
            depth=0 if new.parent is None else new.parent.depth,
            rerun_of=new.rerun_of,
            deadline_at=None if deadline is None else func.clock_timestamp() + timedelta(seconds=deadline),
        )
    )
    session.flush()
    nodes = new.version.layout.nodes
    session.execute(
        statements.INSERT_NODES,
        {
            "organization_id": new.organization_id,
            "run_id": run_id,
            "keys": [node.key for node in nodes],
            "kinds": [node.kind.value for node in nodes],
        },
    )
    return run_id
