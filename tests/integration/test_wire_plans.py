"""Plans of the fast path, made and kept while tables are small, find rows by index when these have grown."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.fast_path import APP_STATEMENTS, WORKER_STATEMENTS
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import LaneShare
from mecapy_platform.db.wire import Wire, plain_url
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services.claims import Worker
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.settings import Settings
from support import factories
from support.platform.embedded_process import wait_for
from support.platform.services import fresh_database

RULES = Settings().queue_rules
WORKER = Worker("node-1", "node-1-1", "fake")
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
SCANS = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname IN ('tasks', 'attempts')"


@pytest.fixture
def server() -> Iterator[Postgres]:
    with fresh_database() as made:
        yield made


@contextmanager
def opened(server: Postgres) -> Iterator[Database]:
    database = Database(make_engine(server.worker_url, pool_size=1))
    try:
        yield database
    finally:
        database.dispose()


def scans(server: Postgres) -> dict[str, int]:
    """Sequential scans of the tables that grow; a session's are counted for certain once it has ended."""
    with psycopg.connect(plain_url(server.owner_url), autocommit=True) as owner:
        wait_for(lambda: owner.execute(OTHERS).fetchone() == (0,), "the other sessions' end")
        return dict(owner.execute(SCANS).fetchall())


def queue(server: Postgres, package: factories.ReadyPackage, organization: UUID, numbers: range) -> None:
    with opened(server) as database, database.transaction() as session:
        for number in numbers:
            session.add(factories.queued_task(organization, package.version_id, package.functions["size"], number))


def test_plans_made_while_tables_are_small_find_rows_by_index(server: Postgres) -> None:
    with opened(server) as database, database.transaction() as session:
        factories.see_node(session, "node-1", cpu=100, memory_mb=100_000, disk_free_bytes=1)
        session.add(LaneShare(lane=Lane.DEFAULT, organization_id=UUID(int=0), stride_pass=0.0))
        organization = factories.organization_of(session)
        package = factories.package_of(session, organization, functions={"size": factories.SIZE})
    queue(server, package, organization, range(1))
    with psycopg.connect(plain_url(server.owner_url), autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE")
    before = scans(server)
    worker, app = Wire(server.worker_url, WORKER_STATEMENTS), Wire(server.app_url, APP_STATEMENTS)
    with opened(server) as database:
        lane = FastClaim(worker, database, WORKER, RULES, Lane.DEFAULT)
        for numbers in (range(1), range(1, 20)):
            if numbers.start:
                queue(server, package, organization, numbers)
            for _ in numbers:
                with lane.claim(1) as claimed:
                    assert claimed is not None
                (task,) = claimed
                end = {
                    "token": str(task.token), "state": "completed", "attempt_state": "completed", "is_told": True,
                    "leftovers_removed": True, "result": {},
                }  # fmt: skip
                worker.call("fast_finish", json.dumps([end]).encode(), *lane.asked(0))
                question = {
                    "place": 0, "scope": str(organization), "visible": [str(organization)],
                    "user_id": str(organization), "id": str(task.task_id),
                }  # fmt: skip
                assert app.call("tasks", json.dumps([question]).encode())
    worker.close()
    app.close()
    assert scans(server) == before
