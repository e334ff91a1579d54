"""Months of events, logs and artifacts on a real database: where rows lie, what is opened, what stays, who may read."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, create_engine, text

from mecapy_platform.core.ids import uuid7
from mecapy_platform.db.errors import DatabaseError, RowConflictError, StatementError
from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import events, partitions
from mecapy_platform.settings import Settings
from support.platform.services import fresh_database

RULES = Settings().queue_rules
PARTITIONED = ("artifacts", "events", "task_logs")
ACME, BOLTS = uuid4(), uuid4()
TASK = """
INSERT INTO tasks (id, organization_id, user_id, function_id, package_version_id, name, state, lane, rank, inputs,
        inputs_digest, cpu, memory_mb, timeout_seconds)
    VALUES (:id, :organization, uuidv7(), uuidv7(), uuidv7(), 'n', 'queued', 'default', 4, '{}', 'd', 1, 1, 1);
INSERT INTO events (organization_id, task_id, kind, data, created_at)
    VALUES (:organization, :id, 'TaskQueued', '{"lane": "default"}', :at);
INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text)
    VALUES (:id, 0, :organization, 1, 'stdout', 'hello');
INSERT INTO artifacts (organization_id, task_id, attempt, kind, name, filename, key, size_bytes, sha256)
    VALUES (:organization, :id, 1, 'file', 'report', 'r.csv', 'k', 1, 's')
"""
END = """
UPDATE tasks SET state = 'running' WHERE id = :id;
UPDATE tasks SET state = 'completed', completed_at = :at WHERE id = :id;
INSERT INTO events (organization_id, task_id, kind, data, created_at)
    VALUES (:organization, :id, 'TaskFinished', '{}', :at)
"""
PARTS = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = cast(:table AS regclass)")


@pytest.fixture
def server(own_server: Postgres) -> Postgres:
    return own_server


@pytest.fixture
def database(own_database: Database) -> Database:
    return own_database


@pytest.fixture
def owner(server: Postgres) -> Iterator[Engine]:
    engine = create_engine(server.owner_url)
    yield engine
    engine.dispose()


def month_of(at: datetime, later: int = 0) -> datetime:
    number = at.year * 12 + at.month - 1 + later
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


NOW = datetime.now(UTC)


def id_of(at: datetime) -> UUID:
    """A uuidv7 of another moment."""
    return uuid7(int(at.timestamp() * 1000))


def run(database: Database, statements: str, **values: object) -> None:
    with database.transaction() as session:
        for statement in statements.split(";\n"):
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            session.execute(text(statement), used)


def submitted(database: Database, at: datetime, *, organization: UUID = ACME, ended: datetime | None = None) -> UUID:
    task_id = id_of(at)
    run(database, TASK, id=task_id, organization=organization, at=at)
    if ended is not None:
        run(database, END, id=task_id, organization=organization, at=ended)
    return task_id


def parts(database: Database, table: str) -> set[str]:
    with database.transaction() as session:
        return set(session.scalars(PARTS, {"table": table}))


def part_of(database: Database, table: str, task_id: UUID) -> set[str]:
    with database.transaction() as session:
        lies = text(f"SELECT tableoid::regclass::text FROM {table} WHERE task_id = :id")
        return set(session.scalars(lies, {"id": task_id}))


def left(database: Database, table: str) -> set[UUID]:
    with database.transaction() as session:
        return set(session.scalars(text(f"SELECT task_id FROM {table}")))


@pytest.fixture
def with_past(server: Postgres, owner: Engine) -> None:
    """The months that a platform has made that is running since three months: earlier ones of the same kind."""
    with owner.begin() as connection:
        for table in PARTITIONED:
            connection.execute(text(f"ALTER TABLE {table} DETACH PARTITION {table}_kept"))
            low = text("SELECT mecapy_lowest_id(:at)::text")
            for back in (3, 2, 1):
                ends = [connection.scalar(low, {"at": month_of(NOW, 1 - back - later).date()}) for later in (1, 0)]
                name = f"{table}_{month_of(NOW, -back):%Y_%m}"
                connection.execute(
                    text(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{ends[0]}') TO ('{ends[1]}')")
                )
            first = connection.scalar(low, {"at": month_of(NOW, -3).date()})
            connection.execute(
                text(f"ALTER TABLE {table} ATTACH PARTITION {table}_kept FOR VALUES FROM (MINVALUE) TO ('{first}')")
            )


def test_rows_lie_in_the_month_of_their_task_and_none_is_refused(database: Database) -> None:
    this, next_ = (f"{month_of(NOW, later):%Y_%m}" for later in (0, 1))
    wanted = {
        submitted(database, NOW): this,
        submitted(database, month_of(NOW)): this,
        submitted(database, month_of(NOW, 1)): next_,
        submitted(database, NOW - timedelta(days=400)): "kept",
        submitted(database, NOW + timedelta(days=400)): "other",
    }
    for table in PARTITIONED:
        assert [part_of(database, table, task_id) for task_id in wanted] == [
            {f"{table}_{name}"} for name in wanted.values()
        ]
    run(
        database, "INSERT INTO events (organization_id, kind) VALUES (:organization, 'VersionBuilt')", organization=ACME
    )
    with database.transaction() as session:
        assert session.scalars(text("SELECT tableoid::regclass::text FROM events WHERE task_id IS NULL")).all() == [
            "events_other"
        ]


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("table", PARTITIONED)
def test_a_look_at_one_task_opens_one_partition(database: Database, table: str, mode: str) -> None:
    task_id = submitted(database, NOW)
    with database.transaction() as session:
        session.execute(text(f"SET LOCAL plan_cache_mode = {mode}"))
        session.execute(text(f"PREPARE look (uuid) AS SELECT * FROM {table} WHERE task_id = $1"))
        plan = "\n".join(session.scalars(text(f"EXPLAIN (ANALYZE, COSTS off) EXECUTE look ('{task_id}')")))
        session.execute(text("DEALLOCATE look"))
    opened = [name for name in parts(database, table) if f" {name} " in plan]
    assert opened == [f"{table}_{NOW:%Y_%m}"]


def test_an_end_is_noted_once_and_a_token_is_given_once_in_every_month(database: Database) -> None:
    for at in (NOW, NOW - timedelta(days=400), NOW + timedelta(days=400)):
        task_id = submitted(database, at, ended=NOW)
        with pytest.raises(RowConflictError):
            run(database, END.rsplit(";\n", maxsplit=1)[-1], id=task_id, organization=ACME, at=NOW)
    attempt = (
        "INSERT INTO attempts (organization_id, task_id, number, token, node, worker, backend, cpu, memory_mb, lane, "
        "lease_until) VALUES (:organization, :id, 1, :token, 'n', 'w', 'fake', 1, 1, 'default', now())"
    )
    token = uuid4()
    run(database, attempt, organization=ACME, id=submitted(database, NOW), token=token)
    old = submitted(database, NOW - timedelta(days=400))
    with pytest.raises(RowConflictError):
        run(database, attempt, organization=ACME, id=old, token=token)


def test_no_partition_is_reached_around_its_table(server: Postgres, database: Database, owner: Engine) -> None:
    submitted(database, NOW)
    app = Database(make_engine(server.app_url))
    names = [name for table in PARTITIONED for name in parts(database, table)]
    assert len(names) == len(PARTITIONED) * 5
    try:
        for name in names:
            for reader in (app, database):
                with pytest.raises(DatabaseError) as refusal, reader.transaction() as session:
                    session.execute(text(f"SELECT * FROM {name}"))
                assert "permission denied" in refusal.value.detail
            with owner.connect() as connection:  # whoever owns it sees no row of a tenant by accident
                assert connection.execute(text(f"SELECT * FROM {name}")).all() == []
        with app.scoped([ACME], uuid4()) as session:
            assert session.scalar(text("SELECT count(*) FROM task_logs")) == 1
        with app.scoped([BOLTS], uuid4()) as session:
            assert session.scalar(text("SELECT count(*) FROM task_logs")) == 0
    finally:
        app.dispose()


def test_months_are_made_ahead_and_take_what_came_before_them(database: Database) -> None:
    assert partitions.make_ahead(database) == 0
    late = month_of(NOW, 4)
    task_id = submitted(database, late, ended=NOW)
    assert part_of(database, "events", task_id) == {"events_other"}
    with database.transaction() as session:
        assert session.scalar(text("SELECT mecapy_make_partitions(4)")) == 2 * len(PARTITIONED)
    for table in PARTITIONED:
        assert part_of(database, table, task_id) == {f"{table}_{late:%Y_%m}"}
    with pytest.raises(RowConflictError):
        run(database, END.rsplit(";\n", maxsplit=1)[-1], id=task_id, organization=ACME, at=NOW)
    assert partitions.make_ahead(database) == 0
    run(database, "DELETE FROM tasks WHERE id = :id", id=task_id)
    assert left(database, "task_logs") == left(database, "artifacts") == set()


def test_a_month_that_is_dropped_leaves_what_stays(database: Database, with_past: None) -> None:
    old = month_of(NOW, -3) + timedelta(days=2)
    gone = submitted(database, old, ended=old)
    pinned = submitted(database, old, ended=old)
    waiting = submitted(database, old)
    lately = submitted(database, old, ended=NOW)
    later = submitted(database, month_of(NOW, -2), ended=old)
    for table in ("task_logs", "artifacts"):
        assert part_of(database, table, gone) == {f"{table}_{old:%Y_%m}"}
        assert partitions.drop_month(database, table, month_of(NOW, -3).date(), timedelta(days=30), [pinned]) == 3
        assert left(database, table) == {pinned, waiting, lately, later}
        assert part_of(database, table, pinned) == {f"{table}_kept"}
        assert f"{table}_{old:%Y_%m}" not in parts(database, table)
    again = submitted(database, old)
    assert part_of(database, "task_logs", again) == {"task_logs_kept"}


def test_months_of_events_go_when_all_of_them_is_old_enough(database: Database, with_past: None) -> None:
    old = month_of(NOW, -3) + timedelta(days=2)
    submitted(database, old, ended=old)
    lately = submitted(database, old, ended=NOW)
    events.number(database)
    unnumbered = submitted(database, old, ended=old)
    present = submitted(database, NOW)
    assert partitions.drop_old_events(database, RULES) >= 1
    assert left(database, "events") == {lately, unnumbered, present}
    assert part_of(database, "events", lately) == {"events_kept"}
    assert partitions.drop_old_events(database, RULES) == 0
    events.number(database)
    with database.transaction() as session:
        numbers = session.scalars(text("SELECT number FROM events ORDER BY number")).all()
    assert len(numbers) == len(set(numbers))
    assert None not in numbers


@pytest.mark.parametrize(("table", "later"), [("events", -1), ("events", 0), ("tasks", -3), ("organizations", -3)])
def test_no_other_month_and_no_other_table_is_dropped(
    database: Database, with_past: None, table: str, later: int
) -> None:
    with pytest.raises(StatementError):
        partitions.drop_month(database, table, month_of(NOW, later).date(), timedelta(days=1))
    assert len(parts(database, "events")) == 8


def test_rows_of_the_version_before_lie_in_the_months_of_their_tasks() -> None:
    with fresh_database(is_migrated=False) as server:
        migrate(server.owner_url, "0003")
        database = Database(make_engine(server.worker_url))
        old = month_of(NOW, -2) + timedelta(days=3)
        try:
            tasks = {
                submitted(database, old, ended=old): f"{old:%Y_%m}",
                submitted(database, NOW - timedelta(days=900)): "kept",
                submitted(database, NOW): f"{NOW:%Y_%m}",
            }
            oldest = next(iter(tasks))
            database.dispose()
            migrate(server.owner_url)
            for table in PARTITIONED:
                assert left(database, table) == set(tasks)
                assert [part_of(database, table, task_id) for task_id in tasks] == [
                    {f"{table}_{name}"} for name in tasks.values()
                ]
            with database.transaction() as session:
                ids = session.scalars(text("SELECT id FROM events ORDER BY id")).all()
            run(database, END, id=list(tasks)[-1], organization=ACME, at=NOW)
            with database.transaction() as session:
                assert (session.scalar(text("SELECT max(id) FROM events")) or 0) > max(ids)
            with pytest.raises(RowConflictError):
                run(database, END.rsplit(";\n", maxsplit=1)[-1], id=oldest, organization=ACME, at=NOW)
            run(database, "DELETE FROM tasks WHERE id = :id", id=oldest)
            assert oldest not in left(database, "task_logs") | left(database, "artifacts")
        finally:
            database.dispose()


def test_a_month_of_the_calendar_begins_at_its_first_moment(database: Database) -> None:
    with database.transaction() as session:
        low = session.scalar(text("SELECT mecapy_lowest_id(:at)"), {"at": date(2026, 3, 1)})
    assert low is not None
    assert id_of(datetime(2026, 2, 28, 23, 59, 59, 999000, tzinfo=UTC)) < low < id_of(datetime(2026, 3, 1, tzinfo=UTC))
