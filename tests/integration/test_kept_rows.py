"""What stays of a month that is dropped moves while everybody reads and writes, and nothing of it is lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text

from integration.test_partitions import (
    ACME,
    NOW,
    month_of,
    part_of,
    parts,
    run,
    submitted,
    with_past,
)
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import events, partitions
from support.platform.embedded_process import wait_for
from support.platform.services import fresh_database

__all__ = ["with_past"]
MONTH = month_of(NOW, -3).date()
DAY = month_of(NOW, -3) + timedelta(days=2)
KEPT = timedelta(days=30)
LINES = """
INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text)
    SELECT :id, place, :organization, 1, 'stdout', 'line ' || place FROM generate_series(1, :count) AS place
"""
LINE = (
    "INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text) VALUES (%s, %s, %s, 1, 'stdout', 'x')"
)
BEGIN = text("SELECT mecapy_keep_begin('task_logs', :month)")
SOME = text("SELECT mecapy_keep_some('task_logs', :month, :kept, cast(:staying AS uuid[]), :most)")
DROP = text("SELECT mecapy_drop_month('task_logs', :month, :kept, cast(:staying AS uuid[]))")


@pytest.fixture
def server() -> Iterator[Postgres]:
    with fresh_database() as running:
        yield running


@pytest.fixture
def database(server: Postgres) -> Iterator[Database]:
    made = Database(make_engine(server.worker_url))
    yield made
    made.dispose()


@pytest.fixture
def owner(server: Postgres) -> Iterator[Engine]:
    made = create_engine(server.owner_url)
    yield made
    made.dispose()


@contextmanager
def impatient(server: Postgres) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """Somebody whose statements fail when they meet a lock."""
    with psycopg.connect(server.worker_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '1ms'")
        yield connection


def with_lines(database: Database, count: int) -> UUID:
    """A task that stays, as somebody has pinned it."""
    task_id = submitted(database, DAY, ended=DAY)
    run(database, LINES, id=task_id, organization=ACME, count=count)
    return task_id


def lines(database: Database, task_id: UUID) -> int:
    with database.transaction() as session:
        query = text("SELECT count(*) FROM task_logs WHERE task_id = :id")
        return int(session.execute(query, {"id": task_id}).scalar_one())


@pytest.mark.usefixtures("with_past")
def test_everybody_reads_and_writes_while_rows_that_stay_are_copied(server: Postgres, database: Database) -> None:
    pinned, other = with_lines(database, 2000), submitted(database, DAY + timedelta(days=1), ended=DAY)
    values = {"month": MONTH, "kept": KEPT, "staying": [pinned, other], "most": 500}
    with database.transaction() as session:
        session.execute(BEGIN, values)
    with impatient(server) as beside, database.transaction() as copying:
        assert copying.execute(SOME, values).scalar_one() == 2001, "whole tasks are copied"
        assert beside.execute("SELECT count(*) FROM task_logs").fetchone() == (2002,)
        beside.execute(LINE, [pinned, 5000, ACME])
        beside.execute(LINE, [other, 5000, ACME])
        beside.execute("DELETE FROM task_logs WHERE task_id = %s AND index = 1", [pinned])
        strongest = beside.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_class c ON c.oid = relation WHERE mode = 'AccessExclusiveLock'"
            " AND granted AND c.relname LIKE 'task\\_logs%' AND NOT c.relname LIKE 'task\\_logs\\_kept\\_%'"
        ).fetchone()
        assert strongest == (0,)
    with database.transaction() as session:
        assert [session.execute(SOME, values).scalar_one() for _ in range(2)] == [2, 0]
    with impatient(server) as beside:
        beside.execute("DELETE FROM task_logs WHERE task_id = %s AND index = 2", [pinned])
    with database.transaction() as session:
        assert session.execute(DROP, values).scalar_one() == 2002
    assert lines(database, pinned) == 2000
    assert lines(database, other) == 2
    with impatient(server) as beside:
        left = beside.execute("SELECT index FROM task_logs WHERE task_id = %s ORDER BY index", [pinned]).fetchall()
    assert [index for (index,) in left] == [0, *range(3, 2001), 5000]


@pytest.mark.usefixtures("with_past")
def test_under_the_lock_only_what_has_changed_is_copied(server: Postgres, database: Database) -> None:
    first, changed = with_lines(database, 1500), submitted(database, DAY + timedelta(days=1), ended=DAY)
    values = {"month": MONTH, "kept": KEPT, "staying": [first, changed], "most": 10_000}
    with database.transaction() as session:
        session.execute(BEGIN, values)
    for expected in (1502, 0):
        with database.transaction() as session:
            assert session.execute(SOME, values).scalar_one() == expected
    with impatient(server) as beside:
        beside.execute(LINE, [changed, 7, ACME])
    with database.transaction() as session:
        session.execute(DROP, values)
    moved = "SELECT task_id, count(*) FROM task_logs WHERE xmin = (SELECT max(xmin::text::bigint)::text::xid"
    with impatient(server) as beside:
        last = beside.execute(f"{moved} FROM task_logs) GROUP BY task_id").fetchall()
    assert last == [(changed, 2)]


@pytest.mark.usefixtures("with_past")
def test_many_rows_stay_together_in_the_months_place_and_a_few_of_the_next_month_join_them(database: Database) -> None:
    pinned = with_lines(database, 1500)
    next_day = month_of(NOW, -2) + timedelta(days=2)
    few = submitted(database, next_day, ended=next_day)
    assert partitions.drop_month(database, "task_logs", MONTH, KEPT, [pinned]) == 1501
    own = f"task_logs_kept_{MONTH:%Y%m}"
    assert part_of(database, "task_logs", pinned) == {own}
    assert partitions.drop_month(database, "task_logs", month_of(NOW, -2).date(), KEPT, [few]) == 1
    assert part_of(database, "task_logs", few) == part_of(database, "task_logs", submitted(database, next_day)) == {own}
    assert part_of(database, "task_logs", submitted(database, DAY)) == {own}
    assert part_of(database, "task_logs", submitted(database, DAY - timedelta(days=90))) == {"task_logs_kept"}
    run(database, "DELETE FROM tasks WHERE id = :id", id=pinned)
    assert lines(database, pinned) == 0, "what belongs to a task goes with it, there too"


@pytest.mark.usefixtures("with_past")
def test_no_row_is_reached_around_the_table_after_it_moved(server: Postgres, database: Database, owner: Engine) -> None:
    pinned = with_lines(database, 1500)
    partitions.drop_month(database, "task_logs", MONTH, KEPT, [pinned])
    own = f"task_logs_kept_{MONTH:%Y%m}"
    with owner.connect() as connection:
        assert connection.execute(text(f"SELECT * FROM {own}")).all() == []
        query = text("SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = :name")
        assert connection.scalar(query, {"name": own}) is True
        helpers = text("SELECT count(*) FROM pg_class WHERE relname LIKE '%changed' AND relkind = 'r'")
        assert connection.scalar(helpers) == 0
    with impatient(server) as beside, pytest.raises(psycopg.errors.InsufficientPrivilege):
        beside.execute(f"SELECT * FROM {own}")


@pytest.mark.usefixtures("with_past")
def test_a_try_that_was_left_half_done_loses_nothing(database: Database) -> None:
    """Also where a relay of an earlier version goes on, which asks for the last step alone."""
    tasks = [submitted(database, DAY + timedelta(days=day), ended=DAY) for day in range(3)]
    values = {"month": MONTH, "kept": KEPT, "staying": tasks, "most": 1}
    with database.transaction() as session:
        session.execute(BEGIN, values)
    with database.transaction() as session:
        assert session.execute(SOME, values).scalar_one() == 1
    with database.transaction() as session:
        assert session.execute(DROP, values).scalar_one() == 3
    assert [lines(database, task) for task in tasks] == [1, 1, 1]


@pytest.mark.usefixtures("with_past")
def test_a_reader_in_the_way_is_waited_for_in_short_tries(server: Postgres, database: Database) -> None:
    pinned = with_lines(database, 10)
    waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    with ThreadPoolExecutor(1) as pool, impatient(server) as watcher:
        with database.transaction() as reading:
            reading.execute(text("SELECT count(*) FROM task_logs"))
            dropped = pool.submit(partitions.drop_month, database, "task_logs", MONTH, KEPT, [pinned])
            wait_for(lambda: watcher.execute(waits).fetchone() == (1,), "it waits for the reader")
            watcher.execute("SET lock_timeout = '60s'")
            assert watcher.execute("SELECT count(*) FROM task_logs").fetchone() == (11,), "it lets others pass"
        assert dropped.result(60) == 11
    assert f"task_logs_{MONTH:%Y_%m}" not in parts(database, "task_logs")


@pytest.mark.usefixtures("with_past")
def test_events_that_are_numbered_or_come_meanwhile_keep_their_place(server: Postgres, database: Database) -> None:
    waiting = submitted(database, DAY)
    values = {"month": MONTH, "kept": KEPT, "staying": [waiting], "most": 100}
    begin, some, drop = (text(str(item).replace("task_logs", "events")) for item in (BEGIN, SOME, DROP))
    with database.transaction() as session:
        session.execute(begin, values)
    for expected in (1, 0):
        with database.transaction() as session:
            assert session.execute(some, values).scalar_one() == expected
    assert events.number(database) >= 1
    run(database, "INSERT INTO events (organization_id, task_id, kind) VALUES (:organization, :id, 'TaskStarted')",
        organization=ACME, id=waiting)  # fmt: skip
    with database.transaction() as session:
        assert session.execute(drop, values).scalar_one() == 2
        found = session.execute(text("SELECT kind, number IS NULL FROM events ORDER BY id")).all()
    assert [tuple(row) for row in found] == [("TaskQueued", False), ("TaskStarted", True)]
    assert part_of(database, "events", waiting) == {"events_kept"}
