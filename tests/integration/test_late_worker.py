"""What the attempt's token is for: the checker of the fault tests over a late worker, with the guard and without it."""

import threading
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import TaskState, Usage
from mecapy_platform.db.errors import RowConflictError
from mecapy_platform.db.functions import FOLDER
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Attempt
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import claims, logs
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.finish import Guard, Outcome, finish, live_attempt, take_back_lost
from mecapy_platform.services.logs import Line
from mecapy_platform.settings import Settings
from support import factories
from support.faults.checker import problems, read_records
from support.faults.client import Accepted, expected
from support.platform.services import opened

SETTINGS = Settings(lease_seconds=15)
AT_ONCE = Settings(lease_seconds=0)  # the server of a test is younger than a lease
NONCE = 11


@pytest.fixture
def without_transitions(server: Postgres) -> Iterator[None]:
    """The database would refuse what the checker is to see."""
    with opened(server.owner_url) as owner:
        with owner.transaction() as session:
            session.execute(text("ALTER TABLE tasks DISABLE TRIGGER transition"))
        yield
        with owner.transaction() as session:
            session.execute(text("ALTER TABLE tasks ENABLE TRIGGER transition"))


@pytest.fixture
def without_fence(server: Postgres) -> Iterator[None]:
    """The statement that ends an attempt looks at its token too; here it takes any that was ever given."""
    fence = (
        " AND a.ended_at IS NULL",
        " AND t.attempt_token = g.token AND t.state = 'running'",
        " AND t.state = g.before",
    )
    body = (FOLDER / "mecapy_end.sql").read_text("utf-8")
    open_to_all = body
    for condition in fence:
        assert condition in body
        open_to_all = open_to_all.replace(condition, "")
    with opened(server.owner_url) as owner:
        install(owner, open_to_all)
        yield
        install(owner, body)


def install(owner: Database, function: str) -> None:
    with owner.transaction() as session:
        raw = session.connection().connection.driver_connection
        assert raw is not None
        raw.execute(function)


@pytest.fixture
def without_index(server: Postgres, database: Database) -> Iterator[None]:
    """Behind the guard stands a unique index on a task's end; for the checker's own proof it goes too."""
    with opened(server.owner_url) as owner:
        with owner.transaction() as session:
            definition = session.scalar(text("SELECT indexdef FROM pg_indexes WHERE indexname = 'events_one_end'"))
            session.execute(text("DROP INDEX events_one_end"))
        yield
        with database.transaction() as session:
            session.execute(text("DELETE FROM events"))
        with owner.transaction() as session:
            session.execute(text(str(definition)))


@pytest.fixture
def accepted(database: Database) -> dict[str, Accepted]:
    """One released task, as a client of the fault tests knows it."""
    with database.transaction() as session:
        session.execute(text("DELETE FROM events"))
        session.execute(text("DELETE FROM tasks"))
        factories.see_node(session)
        organization = factories.organization_of(session)
    package = factories.ready_package(database, organization, uuid4())
    where = organization, package.version_id, package.functions["size"]
    task = factories.queued_task(*where, inputs={"nonce": NONCE})
    task_id = task.id
    with database.transaction() as session:
        session.add(task)
    return {str(task_id): Accepted(str(task_id), NONCE, "quick", "alpha", 0.0)}


def take(database: Database, process: str) -> Claim:
    with database.transaction() as session:
        (claimed,) = claims.claim(session, Worker("node", process, "fake"), Lane.DEFAULT, 1, SETTINGS.queue_rules)
    return claimed


def lose(database: Database, claimed: Claim) -> None:
    """The lease of a claim runs out, and the sweep sees it."""
    with database.transaction() as session:
        session.execute(
            text("UPDATE attempts SET lease_until = now() - interval '1 s' WHERE token = :token"),
            {"token": claimed.token},
        )
    with database.transaction() as session:
        assert take_back_lost(session, AT_ONCE.queue_rules) == 1


def complete(
    database: Database, claimed: Claim, guard: Guard = live_attempt
) -> tuple[TaskState | None, dict[str, object]]:
    """Report as a worker does; also the line that its probe would append."""
    outcome = Outcome(None, Usage(1.0, 1.0, 10.0), result={"value": expected(NONCE)})
    with database.transaction() as session:
        logs.append(session, claimed.task_id, claimed.token, [Line(0, "stdout", f"nonce {NONCE}\n")])
        state = finish(session, claimed.token, outcome, SETTINGS.queue_rules, guard=guard)
    entry = {"point": "finished", "task": str(claimed.task_id), "attempt": claimed.number, "token": str(claimed.token)}
    return state, entry if state is not None else {"point": "claimed"}


def any_attempt(session: Session, token: UUID) -> Attempt | None:
    """The guard removed: whoever knows a token may end its attempt."""
    return session.scalars(select(Attempt).where(Attempt.token == token)).first()


@pytest.mark.parametrize("late_first", [True, False])
def test_a_late_worker_changes_nothing_and_the_checker_finds_nothing(
    database: Database, accepted: dict[str, Accepted], late_first: bool
) -> None:
    late = take(database, "late")
    lose(database, late)
    second = take(database, "second")
    ledger = []
    for claimed in (late, second) if late_first else (second, late):
        state, entry = complete(database, claimed)
        assert state is (None if claimed is late else TaskState.COMPLETED)
        ledger.append(entry)
    assert problems(read_records(database), accepted, ledger) == []


def test_without_the_guard_the_statement_that_ends_still_looks_at_the_token(
    database: Database, accepted: dict[str, Accepted]
) -> None:
    late = take(database, "late")
    lose(database, late)
    second = take(database, "second")
    assert complete(database, late, any_attempt)[0] is None
    ledger = [complete(database, second, any_attempt)[1]]
    assert complete(database, second, any_attempt)[0] is None
    assert problems(read_records(database), accepted, ledger) == []


@pytest.mark.usefixtures("without_fence")
def test_without_the_guard_the_database_refuses_a_second_end_and_the_checker_sees_the_run_that_hangs(
    database: Database, accepted: dict[str, Accepted]
) -> None:
    late = take(database, "late")
    lose(database, late)
    second = take(database, "second")
    complete(database, late, any_attempt)
    with pytest.raises(RowConflictError) as refused:
        complete(database, second, any_attempt)
    assert 'unique constraint "events_' in refused.value.detail
    found = problems(read_records(database), accepted)
    assert any("an attempt never ended" in sentence for sentence in found)


@pytest.mark.usefixtures("without_fence", "without_index")
@pytest.mark.parametrize("late_first", [True, False])
def test_without_the_guard_the_checker_reports_a_doubled_end(
    database: Database, accepted: dict[str, Accepted], late_first: bool
) -> None:
    late = take(database, "late")
    lose(database, late)
    second = take(database, "second")
    ledger = [
        complete(database, claimed, any_attempt)[1] for claimed in ((late, second) if late_first else (second, late))
    ]
    (task_id,) = accepted
    found = problems(read_records(database), accepted, ledger)
    assert f"{task_id} (completed): 2 ends recorded" in found
    assert f"{task_id} (completed): 2 attempts count, should be one; None" in found
    assert f"{task_id}: completed 2 times" in found


BREAKS = {
    "lost": "DELETE FROM tasks",
    "wrong result": "UPDATE tasks SET result = '{\"value\": 1}'",
    "not ended": "UPDATE tasks SET state = 'queued'",
    "foreign file": (
        "INSERT INTO artifacts (organization_id, task_id, attempt, kind, name, filename, key, size_bytes, sha256) "
        "SELECT organization_id, id, 1, 'file', 'other', 'r', 'k', 1, 's' FROM tasks"
    ),
    "doubled usage": "UPDATE tasks SET runtime_seconds = 2 * runtime_seconds",
    "lost log": "DELETE FROM task_logs",
}


@pytest.mark.usefixtures("without_transitions")
@pytest.mark.parametrize("statement", BREAKS.values(), ids=BREAKS)
def test_the_checker_sees_what_it_is_there_for(
    database: Database, accepted: dict[str, Accepted], statement: str
) -> None:
    complete(database, take(database, "only"))
    assert problems(read_records(database), accepted) == []
    with database.transaction() as session:
        session.execute(text(statement))
    assert len(problems(read_records(database), accepted)) == 1


def test_a_lease_renewed_while_the_sweep_looks_is_not_taken_back(
    database: Database, accepted: dict[str, Accepted]
) -> None:
    assert accepted
    claimed, swept = take(database, "slow"), list[int]()
    set_lease = text("UPDATE attempts SET lease_until = now() + cast(:after AS interval) WHERE token = :token")
    with database.transaction() as session:
        session.execute(set_lease, {"token": claimed.token, "after": "-1 s"})

    def sweep() -> None:
        with database.transaction() as session:
            swept.append(take_back_lost(session, AT_ONCE.queue_rules))

    sweeping = threading.Thread(target=sweep)
    with database.transaction() as session:
        session.execute(set_lease, {"token": claimed.token, "after": "60 s"})
        sweeping.start()
        while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            pass
    sweeping.join(60)
    assert swept == [0]
    assert complete(database, claimed)[0] is TaskState.COMPLETED
