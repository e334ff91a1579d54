"""A database of the version before, with work in it, becomes one of this version and goes on; functions are renewed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import create_engine, text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db import queue
from mecapy_platform.db.functions import FOLDER
from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Task
from mecapy_platform.db.wire import checked, plain_url
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services.claims import Worker, claim
from mecapy_platform.services.finish import Outcome, finish
from mecapy_platform.services.release import due_lanes
from mecapy_platform.settings import Settings
from support.platform.services import fresh_database

SETTINGS = Settings()
DONE = Outcome(None, Usage(1.0, 1.0, 64.0), result={"stress": 1.0})
NODE = {"cpu": 8, "memory_mb": 32_000, "disk_free_bytes": 1 << 40, "accepts_work": True, "refusal": None}
RUNNING_TOKEN = uuid4()

BEFORE = """
INSERT INTO organizations (id, slug, display_name) VALUES (:organization, 'acme', 'Acme');
INSERT INTO packages (id, organization_id, owner_id, name) VALUES (:package, :organization, :user, 'bolts');
INSERT INTO package_versions (id, organization_id, package_id, version, manifest, archive_key, archive_sha256, created_by, status, runtime)
    VALUES (:version, :organization, :package, '1.0.0', '{}', 'k', 's', :user, 'ready', '3.11');
INSERT INTO functions (id, organization_id, package_version_id, name, handler, inputs, cpu, memory_mb, timeout_seconds, options, checksum)
    VALUES (:function, :organization, :version, 'size', 'handler:size', '{}', 1, 512, 60, '{"needs": ["ccx"]}', 'c');
INSERT INTO tasks (id, organization_id, user_id, function_id, package_version_id, name, state, lane, rank, claimable, held, not_before,
        inputs, inputs_digest, cpu, memory_mb, timeout_seconds, attempts, attempt_token, node)
    SELECT id, :organization, :user, :function, :version, 'n', state, 'default', 4, claimable, held, not_before, '{}', 'd', 1, 512, 60,
        attempts, token, node
    FROM (VALUES
        (cast(:queued AS uuid), 'queued', true, NULL, NULL::timestamptz, 0, NULL::uuid, NULL),
        (cast(:backoff AS uuid), 'queued', false, 'backoff', now() - interval '1 second', 1, NULL, NULL),
        (cast(:running AS uuid), 'running', false, NULL, NULL, 1, cast(:token AS uuid), 'node-1'),
        (cast(:ended AS uuid), 'completed', false, NULL, NULL, 1, NULL, 'node-1')
    ) AS t (id, state, claimable, held, not_before, attempts, token, node);
INSERT INTO attempts (organization_id, task_id, number, token, node, worker, backend, cpu, memory_mb, lane, lease_until)
    VALUES (:organization, :running, 1, :token, 'node-1', 'w', 'fake', 1, 512, 'default', now() + interval '1 hour');
INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text) VALUES (:running, 0, :organization, 1, 'stdout', 'hello');
INSERT INTO events (organization_id, task_id, kind, data)
    SELECT organization_id, id, 'TaskQueued', '{"lane": "default"}' FROM tasks;
INSERT INTO events (organization_id, task_id, kind, data) VALUES (:organization, :ended, 'TaskFinished', '{"state": "completed"}');
INSERT INTO lane_shares (lane, organization_id, passed) VALUES ('default', :organization, 3)
"""  # noqa: E501 - the tables of that version, as its code wrote them
NAMES = ("organization", "package", "user", "version", "function", "queued", "backoff", "running", "ended")


@pytest.fixture
def before() -> Iterator[tuple[Postgres, dict[str, UUID]]]:
    with fresh_database(is_migrated=False) as server:
        migrate(server.owner_url, "0003")
        values = {name: uuid4() for name in NAMES} | {"token": RUNNING_TOKEN}
        engine = create_engine(server.worker_url)
        with engine.begin() as connection:
            for statement in BEFORE.split(";\n"):
                used = {name: value for name, value in values.items() if f":{name}" in statement}
                connection.execute(text(statement), used)
        engine.dispose()
        yield server, values


def test_a_database_of_the_version_before_goes_on(before: tuple[Postgres, dict[str, UUID]]) -> None:
    server, ids = before
    migrate(server.owner_url)
    database = Database(make_engine(server.worker_url))
    worker = Worker("node-1", "node-1-1", "fake")
    try:
        with database.transaction() as session:
            waiting = {task.id: task for task in session.query(Task)}
            assert waiting[ids["queued"]].needs == ["ccx"]
            assert waiting[ids["ended"]].needs == []
            session.execute(queue.SEE_NODE, {"name": "node-1", "tools": '["ccx"]', **NODE})
            assert due_lanes(session) == [Lane.DEFAULT]
        with database.transaction() as session:
            claimed = claim(session, worker, Lane.DEFAULT, 5, SETTINGS.queue_rules)
        assert {item.task_id for item in claimed} == {ids["queued"], ids["backoff"]}
        with database.transaction() as session:
            for token in (RUNNING_TOKEN, *(item.token for item in claimed)):
                assert finish(session, token, DONE, SETTINGS.queue_rules) is TaskState.COMPLETED
        with database.transaction() as session:
            ends = session.execute(
                text("SELECT task_id, count(*) AS ends FROM events WHERE kind = 'TaskFinished' GROUP BY task_id")
            )
            assert {row.task_id: row.ends for row in ends} == {
                ids[name]: 1 for name in ("queued", "backoff", "running", "ended")
            }
    finally:
        database.dispose()


CLAIM_ALL = "SELECT verdict, claims FROM mecapy_claim_all($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
FINISH_MANY = "SELECT ended, lanes, claims FROM mecapy_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
FULL_CLAIM = """
    UPDATE tasks t SET state = 'running', claimable = false, held = NULL, not_before = NULL, attempts = t.attempts + 1,
        attempt_token = uuidv7(), node = 'node-1' WHERE t.claimable AND t.state = 'queued'
"""
BUILD = "UPDATE package_versions SET build_token = uuidv7(), build_attempts = build_attempts + 1"
OTHER_STATEMENTS = (
    ("SELECT passed FROM lane_shares WHERE lane = 'default' FOR UPDATE",),
    (FULL_CLAIM,),
    (BUILD, "SELECT id, limits, checks, catalog FROM organizations"),  # one transaction
    ("UPDATE tasks SET state = 'queued', held = 'backoff', attempt_token = NULL WHERE state = 'running'",),
    ("UPDATE tasks SET claimable = true, held = NULL WHERE not_before <= clock_timestamp() AND held = 'backoff'",),
    ("SELECT id, state, held FROM tasks WHERE state = 'running' FOR UPDATE",),
)


class EarlierWorker:
    """The statements of a worker of the version before, as its code sends them, on one connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        for name, statement in ((b"claim_all", CLAIM_ALL), (b"finish_many", FINISH_MANY)):
            checked(connection.pgconn.prepare(name, statement.encode()))

    def claim(self, slots: int) -> None:
        """The fast path."""
        checked(self._connection.pgconn.exec_prepared(b"claim_all", self._asked(slots)))

    def run(self, *statements: LiteralString) -> None:
        """In one transaction."""
        with self._connection.transaction():
            for statement in statements:
                self._connection.execute(statement)

    def end(self, token: UUID, slots: int, key: str | None = None) -> tuple[bytes | None, bytes | None]:
        """A completed attempt, with a claim for the places that become free: what was ended, what it was given."""
        lines = [{"index": 9, "kind": "stdout", "text": "bye"}]
        used = {"wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_mb": 64.0}
        end = {
            "token": str(token),
            "result": None if key else {"stress": 1.0},
            "result_key": key,
            "lines": lines,
            **used,
        }
        asked = [json.dumps([end]).encode(), *self._asked(slots)]
        ((ended, _lanes, claims),) = checked(self._connection.pgconn.exec_prepared(b"finish_many", asked))
        return ended, claims

    def _asked(self, slots: int) -> list[bytes]:
        tokens = "{" + ",".join(str(uuid4()) for _ in range(slots)) + "}"
        asked = ("default", str(slots), tokens, "node-1", "w", "fake", "15", "2048", "f", "50")
        return [value.encode() for value in asked]


ROWS: LiteralString = "SELECT to_jsonb(t) FROM {} t ORDER BY id"


@pytest.mark.parametrize("key", [None, "tasks/large/result.json"])
def test_a_worker_of_the_version_before_takes_nothing_harms_nothing_and_ends_what_it_began(
    before: tuple[Postgres, dict[str, UUID]], key: str | None
) -> None:
    server, ids = before
    with psycopg.connect(plain_url(server.worker_url), autocommit=True) as connection:
        earlier = EarlierWorker(connection)
        migrate(server.owner_url)

        def rows() -> list[object]:
            return [connection.execute(ROWS.format(table)).fetchall() for table in ("tasks", "attempts", "events")]

        known = rows()
        with pytest.raises(psycopg.Error, match="start this one again"):  # it stands in its log
            earlier.claim(2)
        for statements in OTHER_STATEMENTS:
            with pytest.raises(psycopg.errors.UndefinedColumn):
                earlier.run(*statements)
        assert rows() == known
        assert connection.execute("SELECT build_attempts FROM package_versions").fetchall() == [(0,)]

        assert earlier.end(RUNNING_TOKEN, 2, key) == (str(RUNNING_TOKEN).encode(), None)
        assert earlier.end(RUNNING_TOKEN, slots=2) == (None, None), "once"
        states: dict[UUID, str] = dict(connection.execute("SELECT id, state FROM tasks").fetchall())
        assert states == {
            ids["queued"]: "queued", ids["backoff"]: "queued", ids["running"]: "completed", ids["ended"]: "completed",
        }  # fmt: skip
        told = connection.execute("SELECT result, result_s3_key FROM tasks WHERE id = %s", [ids["running"]]).fetchone()
        assert told == (None if key else {"stress": 1.0}, key)
        with psycopg.connect(plain_url(server.worker_url), autocommit=True) as after_a_lost_connection:
            assert EarlierWorker(after_a_lost_connection).end(RUNNING_TOKEN, slots=1) == (None, None)


def _bodies(server: Postgres) -> dict[str, tuple[int, str]]:
    engine = create_engine(server.owner_url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT proname, oid, prosrc FROM pg_proc WHERE proname LIKE 'mecapy\\_%'"))
        found = {row.proname: (row.oid, row.prosrc) for row in rows}
    engine.dispose()
    return found


def test_functions_are_made_again_when_a_file_changed_and_only_then(tmp_path: Path) -> None:
    with fresh_database() as server:
        first = _bodies(server)
        migrate(server.owner_url)
        assert _bodies(server) == first
        folder = tmp_path / "functions"
        shutil.copytree(FOLDER, folder)
        changed = folder / "mecapy_tasks.sql"
        changed.write_text(
            changed.read_text("utf-8").replace("RETURNS TABLE (place int, ", "RETURNS TABLE (place int8, ")
        )
        (folder / "mecapy_new.sql").write_text(
            "CREATE OR REPLACE FUNCTION mecapy_new() RETURNS int LANGUAGE sql AS $$ SELECT 100 % 7 $$;\n"
        )
        migrate(server.owner_url, functions=folder)
        second = _bodies(server)
        assert second.keys() - first.keys() == {"mecapy_new"}
        assert second["mecapy_tasks"][0] != first["mecapy_tasks"][0]
        assert second["mecapy_catalog_changed"] == first["mecapy_catalog_changed"]
        migrate(server.owner_url)
        assert {name: body for name, (_, body) in _bodies(server).items()} == {
            name: body for name, (_, body) in first.items()
        }
