"""The database refuses what core/workflows/states does not allow, for runs, nodes, calls and studies, pair by pair."""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import product
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from mecapy_platform.core.workflows.states import KINDS
from mecapy_platform.db.errors import StatementError
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.workflow_tables import Call, RunNode, Study, Workflow, WorkflowRun, WorkflowVersion
from support import factories
from support.platform.services import fresh_database

TABLES = {"run": "runs", "node": "run_nodes", "call": "calls", "study": "studies"}
PAIRS = [(kind, *pair) for kind, (first, _) in KINDS.items() for pair in product(type(first), type(first))]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with fresh_database() as server:
        made = Database(make_engine(server.worker_url))
        yield made
        made.dispose()


def row_in(session: Session, kind: str, state: StrEnum | None = None) -> UUID:
    """A row that begins in its first state and came to another the allowed way; or that shall begin in that."""
    first, following = KINDS[kind]
    organization_id = factories.organization_of(session)
    own = {"organization_id": organization_id, "user_id": uuid4()}
    workflow = Workflow(organization_id=organization_id, owner_id=uuid4(), slug="w", name="w")
    session.add(workflow)
    session.flush()
    version = WorkflowVersion(
        organization_id=organization_id, workflow_id=workflow.id, number=1, graph={}, created_by=uuid4()
    )
    session.add(version)
    session.flush()
    run = WorkflowRun(
        **own, workflow_id=workflow.id, workflow_version_id=version.id, plan={}, visibility_snapshot="private"
    )
    session.add(run)
    session.flush()
    node = RunNode(organization_id=organization_id, run_id=run.id, place=0, key="n", kind="function")
    session.add(node)
    session.flush()
    call = Call(organization_id=organization_id, run_id=run.id, node_id=node.id, function_id=uuid4())
    study = Study(**own, name="s", function_id=uuid4(), design={})
    session.add_all([call, study])
    session.flush()
    row_id = {"run": run.id, "node": node.id, "call": call.id, "study": study.id}[kind]
    for after in way(first, following, state or first):
        session.execute(
            text(f"UPDATE {TABLES[kind]} SET state = :after WHERE id = :id"), {"after": after, "id": row_id}
        )
    return row_id


def way(first: StrEnum, following: Mapping[StrEnum, frozenset[StrEnum]], last: StrEnum) -> list[StrEnum]:
    """The shortest way from the first state."""
    ways: dict[StrEnum, list[StrEnum]] = {first: []}
    while last not in ways:
        for before in list(ways):
            ways |= {after: [*ways[before], after] for after in following[before] if after not in ways}
    return ways[last]


@pytest.mark.parametrize(("kind", "before", "after"), PAIRS)
def test_a_row_goes_from_state_to_state_only_as_the_table_allows(
    database: Database, kind: str, before: StrEnum, after: StrEnum
) -> None:
    with database.transaction() as session:
        row_id = row_in(session, kind, before)
    is_allowed = after is before or after in KINDS[kind][1][before]
    try:
        with database.transaction() as session:
            changed = text(f"UPDATE {TABLES[kind]} SET state = :after WHERE id = :id")
            session.execute(changed, {"after": after, "id": row_id})
    except StatementError:
        assert not is_allowed
    else:
        assert is_allowed


@pytest.mark.parametrize(("kind", "state"), [(kind, state) for kind in KINDS for state in type(KINDS[kind][0])])
def test_a_row_begins_only_where_its_kind_begins(database: Database, kind: str, state: StrEnum) -> None:
    with database.transaction() as session:
        row_id = row_in(session, kind)
    table = TABLES[kind]
    copied = text(f"""
    INSERT INTO {table} SELECT (json_populate_record(null::{table}, cast(:row AS json))).*
    """)
    read = text(f"""
    SELECT row_to_json(t)::jsonb || jsonb_build_object(
        'id', uuidv7(), 'state', cast(:state AS text), 'place', 9, 'index', 9)
    FROM {table} t WHERE id = :id
    """)
    try:
        with database.transaction() as session:
            row = session.scalar(read, {"id": row_id, "state": state})
            session.execute(copied, {"row": json.dumps({**row, "key": "other"})})
    except StatementError:
        assert state is not KINDS[kind][0]
    else:
        assert state is KINDS[kind][0]
