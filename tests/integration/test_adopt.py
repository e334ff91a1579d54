"""Runs that outlive their worker, as PostgreSQL sees them.

Who may take them over, when they are lost, and that an old worker is fenced.
"""

from uuid import uuid4

import pytest
from sqlalchemy import text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import FailureKind, TaskState, Usage
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Attempt
from mecapy_platform.sandbox.base import Seen
from mecapy_platform.services import adopt, claims, logs
from mecapy_platform.services.adopt import Adopted
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.finish import Outcome, finish, take_back_lost
from mecapy_platform.services.logs import Line
from mecapy_platform.settings import Settings
from support import factories

SETTINGS = Settings(lease_seconds=15)
AT_ONCE = Settings(lease_seconds=0)  # the server of a test is younger than a lease
DONE = Outcome(None, Usage(1.0, 1.0, 10.0), result={"value": 1})


@pytest.fixture
def claimed(database: Database) -> Claim:
    """A task that process `old` of the node runs."""
    with database.transaction() as session:
        for table in ("events", "tasks"):
            session.execute(text(f"DELETE FROM {table}"))
        factories.see_node(session)
        organization = factories.organization_of(session)
    package = factories.ready_package(database, organization, uuid4())
    with database.transaction() as session:
        session.add(factories.queued_task(organization, package.version_id, package.functions["size"]))
    with database.transaction() as session:
        (made,) = claims.claim(session, Worker("node", "old", "docker"), Lane.DEFAULT, 1, SETTINGS.queue_rules)
    return made


def name(database: Database, claim: Claim) -> None:
    with database.transaction() as session:
        assert adopt.note_reference(session, claim.token, "container-1", "docker")


def let_lease_run_out(database: Database, claim: Claim, seconds: float = 1.0) -> None:
    statement = text(
        "UPDATE attempts SET lease_until = clock_timestamp() - make_interval(secs => :seconds) WHERE task_id = :task"
    )
    with database.transaction() as session:
        session.execute(statement, {"seconds": seconds, "task": claim.task_id})


def take_over(
    database: Database, *, node: str = "node", lane: Lane = Lane.DEFAULT, dead: tuple[str, ...] = ()
) -> list[Adopted]:
    with database.transaction() as session:
        return adopt.take_over(session, Worker(node, "new", "docker"), [lane], dead, SETTINGS.queue_rules)


def take_back(database: Database) -> int:
    with database.transaction() as session:
        return take_back_lost(session, AT_ONCE.queue_rules)


def end(database: Database, claim: Claim) -> TaskState | None:
    with database.transaction() as session:
        return finish(session, claim.token, DONE, SETTINGS.queue_rules)


def test_a_named_run_whose_lease_ran_out_goes_on_under_a_new_token(database: Database, claimed: Claim) -> None:
    name(database, claimed)
    let_lease_run_out(database, claimed)
    (adopted,) = take_over(database)
    assert adopted.reference == "container-1"
    assert adopted.claim.token != claimed.token
    assert adopted.claim.number == claimed.number
    assert {**adopted.claim.__dict__, "token": None} == {**claimed.__dict__, "token": None}
    assert end(database, adopted.claim) is TaskState.COMPLETED


def test_a_late_old_worker_changes_nothing(database: Database, claimed: Claim) -> None:
    name(database, claimed)
    let_lease_run_out(database, claimed)
    (adopted,) = take_over(database)
    with database.transaction() as session:
        logs.append(session, claimed.task_id, claimed.token, [Line(0, "stdout", "late\n")])
        assert not adopt.note_reference(session, claimed.token, "container-2", "docker")
        assert claims.renew(session, [claimed.token], SETTINGS.queue_rules) == set()
    assert end(database, claimed) is None
    with database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM task_logs")) == 0
    assert end(database, adopted.claim) is TaskState.COMPLETED
    assert end(database, adopted.claim) is None


def test_a_run_is_taken_over_by_one_worker_alone(database: Database, claimed: Claim) -> None:
    name(database, claimed)
    let_lease_run_out(database, claimed)
    assert len(take_over(database)) == 1
    assert take_over(database) == []


def test_a_worker_known_to_be_dead_is_not_waited_for(database: Database, claimed: Claim) -> None:
    name(database, claimed)
    assert take_over(database) == []
    assert len(take_over(database, dead=("old",))) == 1


def test_a_run_that_was_let_go_is_taken_at_once(database: Database, claimed: Claim) -> None:
    name(database, claimed)
    with database.transaction() as session:
        adopt.let_go(session, claimed.token)
    assert len(take_over(database)) == 1


@pytest.mark.parametrize("options", [{"node": "elsewhere"}, {"lane": Lane.HIGH_PRIORITY}])
def test_only_the_nodes_own_runs_in_the_workers_lanes_are_taken(
    database: Database, claimed: Claim, options: dict[str, str]
) -> None:
    name(database, claimed)
    let_lease_run_out(database, claimed)
    assert take_over(database, **options) == []  # type: ignore[arg-type]


def test_a_run_without_a_name_is_lost_with_its_lease(database: Database, claimed: Claim) -> None:
    let_lease_run_out(database, claimed)
    assert take_over(database) == []
    assert take_back(database) == 1


def test_a_named_run_waits_for_its_node_and_is_lost_when_that_stays_away(database: Database, claimed: Claim) -> None:
    name(database, claimed)
    let_lease_run_out(database, claimed, AT_ONCE.durable_absence_seconds - 20)
    assert take_back(database) == 0
    let_lease_run_out(database, claimed, AT_ONCE.durable_absence_seconds + 1)
    assert take_back(database) == 1
    with database.transaction() as session:
        assert (
            session.query(Attempt.state).where(Attempt.task_id == claimed.task_id).scalar() == FailureKind.LOST_MACHINE
        )


def test_what_is_kept_of_the_output_is_counted_for_this_attempt(database: Database, claimed: Claim) -> None:
    name(database, claimed)
    lines = [
        Line(0, "stdout", "één\n"),
        Line(1, "stderr", "oops\n"),
        Line(2, "stdout", "x"),
        Line(3, "progress", "{}"),
        Line(4, "platform", "cut"),
    ]
    with database.transaction() as session:
        logs.append(session, claimed.task_id, claimed.token, lines)
    let_lease_run_out(database, claimed)
    (adopted,) = take_over(database)
    assert adopted.seen == Seen(stdout_characters=5, stderr_characters=5, progress_lines=1, platform_pieces=1)
    assert adopted.next_index == 5


def test_only_attempts_that_have_not_ended_still_count(database: Database, claimed: Claim) -> None:
    with database.transaction() as session:
        assert adopt.still_count(session, [claimed.task_id, uuid4()]) == {(claimed.task_id, claimed.number)}
    end(database, claimed)
    with database.transaction() as session:
        assert adopt.still_count(session, [claimed.task_id]) == set()
