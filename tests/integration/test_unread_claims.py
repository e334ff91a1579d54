"""A claim whose function cannot be read, at this moment or for good: its task does not wait for the end of a lease."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import select, text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db.errors import DatabaseAwayError
from mecapy_platform.db.fast_path import WORKER_STATEMENTS
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Attempt, Task
from mecapy_platform.db.wire import Wire
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import adopt, claims
from mecapy_platform.services.claims import Worker
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.services.fast_finish import EndedAttempt, fast_finish
from mecapy_platform.services.finish import Outcome, take_back_lost
from mecapy_platform.settings import Settings
from support import factories
from support.factories import ReadyPackage

RULES = Settings(max_attempts=2).queue_rules
WORKER = Worker("node", "node-1", "fake")
DONE = Outcome(None, Usage(1.0, 1.0, 10.0), result={"value": 1})


@pytest.fixture
def package(database: Database) -> ReadyPackage:
    """Of an organization whose tasks are the only ones."""
    with database.transaction() as session:
        for table in ("events", "task_logs", "attempts", "tasks", "lane_shares", "nodes"):
            session.execute(text(f"DELETE FROM {table}"))
        factories.see_node(session, cpu=1000, memory_mb=1 << 20)
        organization = factories.organization_of(session)
    return factories.ready_package(database, organization, uuid4())


@pytest.fixture
def wire(server: Postgres) -> Iterator[Wire]:
    opened = Wire(server.worker_url, WORKER_STATEMENTS)
    yield opened
    opened.close()


@pytest.fixture
def fast_claim(wire: Wire, database: Database) -> FastClaim:
    with database.transaction() as session:
        session.execute(text("INSERT INTO lane_shares (lane, organization_id) VALUES ('default', :nobody)"
            " ON CONFLICT DO NOTHING"), {"nobody": UUID(int=0)})  # fmt: skip
    return FastClaim(wire, database, WORKER, RULES, Lane.DEFAULT)


def submit(database: Database, package: ReadyPackage, function: str, number: int) -> UUID:
    with database.transaction() as session:
        made = factories.queued_task(package.organization_id, package.version_id, package.functions[function], number)
        session.add(made)
        session.flush()
        return made.id


def claimed(fast_claim: FastClaim, slots: int = 4) -> list[UUID]:
    with fast_claim.claim(slots) as found:
        assert found is not None, "it is a claim of the short way"
        return [claim.task_id for claim in found]


def make_due(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE tasks SET claimable = true, hold_reason = NULL, not_before = NULL"
            " WHERE hold_reason = 'backoff'"))  # fmt: skip


def task_of(database: Database, task_id: UUID) -> Task:
    with database.transaction() as session:
        return session.get_one(Task, task_id)


def open_attempts(database: Database) -> set[UUID]:
    with database.transaction() as session:
        return set(session.scalars(select(Attempt.task_id).where(Attempt.ended_at.is_(None))))


@contextmanager
def unreadable(server: Postgres) -> Iterator[None]:
    """Nobody may read what a claim must know of functions, while claims themselves go on."""
    with psycopg.connect(server.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("REVOKE SELECT ON runnable_functions FROM mecapy_worker")
        try:
            yield
        finally:
            owner.execute("GRANT SELECT ON runnable_functions TO mecapy_worker")


@contextmanager
def without_new_connections(server: Postgres) -> Iterator[None]:
    """What is connected stays so."""
    with psycopg.connect(server.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
        name = sql.Identifier(owner.info.dbname)
        owner.execute(limit.format(name, sql.Literal(0)))
        try:
            yield
        finally:
            owner.execute(limit.format(name, sql.Literal(-1)))


def lose(database: Database, package: ReadyPackage, function: str) -> None:
    with database.transaction() as session:
        session.execute(text("DELETE FROM functions WHERE id = :id"), {"id": package.functions[function]})


def test_a_claim_whose_function_cannot_be_read_now_is_given_back_uncounted_and_its_neighbour_runs(
    server: Postgres, database: Database, package: ReadyPackage, fast_claim: FastClaim
) -> None:
    first = submit(database, package, "size", 1)
    assert claimed(fast_claim) == [first], "from here on its function is known"
    known, unknown = submit(database, package, "size", 2), submit(database, package, "solve", 3)
    with unreadable(server):
        assert claimed(fast_claim) == [known]
        assert open_attempts(database) == {first, known}
    task = task_of(database, unknown)
    assert (task.state, task.outages, task.machine_failures, task.own_failures) == ("queued", 1, 0, 0)
    make_due(database)
    assert claimed(fast_claim) == [unknown]


def test_an_end_whose_next_claim_cannot_be_read_is_an_end_still_and_the_claim_is_given_back(
    server: Postgres, database: Database, package: ReadyPackage, wire: Wire, fast_claim: FastClaim
) -> None:
    first, next_task = submit(database, package, "size", 1), submit(database, package, "solve", 2)
    with fast_claim.claim(1) as found:
        assert found
    ended = [EndedAttempt(found[0].token, DONE)]
    with unreadable(server), fast_finish(wire, ended, fast_claim, 1) as finished:
        assert finished.tokens == {found[0].token}
        assert finished.claims == []
    assert open_attempts(database) == set()
    assert task_of(database, first).state == TaskState.COMPLETED
    assert (task_of(database, next_task).state, task_of(database, next_task).outages) == ("queued", 1)


def test_what_cannot_be_given_back_while_the_database_is_away_is_given_back_at_the_next_look(
    server: Postgres, database: Database, package: ReadyPackage, wire: Wire, fast_claim: FastClaim
) -> None:
    reader = Database(make_engine(server.worker_url))
    fast_claim = FastClaim(wire, reader, WORKER, RULES, Lane.DEFAULT)
    assert claimed(fast_claim) == [], "the wire has its connection, the reader has none yet"
    task = submit(database, package, "size", 1)
    with without_new_connections(server):
        assert claimed(fast_claim) == []
        with pytest.raises(DatabaseAwayError):
            fast_claim.give_back_unread()
    assert open_attempts(database) == {task}
    fast_claim.give_back_unread()
    assert open_attempts(database) == set()
    assert (task_of(database, task).state, task_of(database, task).outages) == ("queued", 1)
    reader.dispose()


def test_a_task_whose_function_is_gone_for_good_ends_with_a_code_and_its_neighbour_runs(
    database: Database, package: ReadyPackage, fast_claim: FastClaim
) -> None:
    lost, good = submit(database, package, "solve", 1), submit(database, package, "size", 2)
    lose(database, package, "solve")
    assert claimed(fast_claim) == [good]
    make_due(database)
    assert claimed(fast_claim) == []
    task = task_of(database, lost)
    assert (task.state, task.error_code, task.parked) == (TaskState.LOST, "function_damaged", True)
    assert open_attempts(database) == {good}


def test_the_long_way_ends_such_a_task_too(database: Database, package: ReadyPackage) -> None:
    lost, good = submit(database, package, "solve", 1), submit(database, package, "size", 2)
    lose(database, package, "solve")
    taken = []
    for _ in range(2):
        with database.transaction() as session:
            taken += claims.claim(session, WORKER, Lane.DEFAULT, 4, RULES)
        make_due(database)
    assert [claim.task_id for claim in taken] == [good]
    assert (task_of(database, lost).state, task_of(database, lost).error_code) == (TaskState.LOST, "function_damaged")
    assert open_attempts(database) == {good}


def test_a_durable_run_whose_function_is_gone_is_taken_over_by_nobody_and_ends_with_its_lease(
    database: Database, package: ReadyPackage
) -> None:
    task = submit(database, package, "solve", 1)
    with database.transaction() as session:
        (claim,) = claims.claim(session, WORKER, Lane.DEFAULT, 1, RULES)
        assert adopt.note_reference(session, claim.token, "container-1", "docker")
    lose(database, package, "solve")
    with database.transaction() as session:
        session.execute(text("UPDATE attempts SET lease_until = clock_timestamp() - interval '1 hour'"))
    with database.transaction() as session:
        new = Worker("node", "node-2", "docker")
        assert adopt.take_over(session, new, [Lane.DEFAULT], ["node-1"], RULES) == []
    with database.transaction() as session:
        assert take_back_lost(session, Settings(lease_seconds=0).queue_rules) == 1
    assert task_of(database, task).state == TaskState.QUEUED
