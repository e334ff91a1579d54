"""From queued to ended in PostgreSQL: claims, leases, guarded ends, retries, cancellation. No sandbox here."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import undefer

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.retries import Interruption
from mecapy_platform.core.states import FailureKind, TaskState, Usage
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Attempt, Function, Task
from mecapy_platform.services import claims, logs, sweeps
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.finish import Outcome, finish
from mecapy_platform.services.logs import Line
from mecapy_platform.services.release import due_lanes
from mecapy_platform.settings import Settings
from support import factories
from support.reading_events import events_read_back

SETTINGS = Settings(lease_seconds=15, organization_max_running=50)
WORKER = Worker("node-1", "node-1-1", "fake")
USED = Usage(1.5, 1.0, 64.0)
DONE = Outcome(None, USED, result={"stress": 1.0})


@pytest.fixture
def database(database: Database) -> Iterator[Database]:
    """With an empty queue and a node."""
    with database.transaction() as session:
        for table in ("events", "tasks", "lane_shares", "nodes"):
            session.execute(text(f"DELETE FROM {table}"))
    add_node(database, "node-1")
    yield database
    events_read_back(database)


def add_node(server: Database, name: str, *, cpu: float = 100, memory_mb: int = 100_000, **columns: Any) -> None:
    with server.transaction() as session:
        factories.see_node(session, name, cpu=cpu, memory_mb=memory_mb, **columns)


def organization(server: Database, **columns: Any) -> UUID:
    with server.transaction() as session:
        return factories.organization_of(session, **columns)


def function(server: Database, organization_id: UUID) -> UUID:
    return factories.ready_package(server, organization_id, uuid4()).functions["size"]


def add_tasks(
    server: Database, organization_id: UUID, count: int, *, function_id: UUID | None = None, **columns: Any
) -> list[UUID]:
    called = function_id or function(server, organization_id)
    with server.transaction() as session:
        version_id = session.get_one(Function, called).package_version_id
        made = []
        for number in range(count):
            task = factories.queued_task(organization_id, version_id, called, number, **columns)
            session.add(task)
            session.flush()
            made.append(task.id)
        return made


def claim(
    server: Database,
    count: int = 10,
    *,
    lane: Lane = Lane.DEFAULT,
    worker: Worker = WORKER,
    settings: Settings = SETTINGS,
) -> list[Claim]:
    with server.transaction() as session:
        return claims.claim(session, worker, lane, count, settings.queue_rules)


def end(server: Database, token: UUID, outcome: Outcome = DONE) -> TaskState | None:
    with server.transaction() as session:
        return finish(session, token, outcome, SETTINGS.queue_rules)


def task_of(server: Database, task_id: UUID) -> Task:
    with server.transaction() as session:
        return session.get_one(Task, task_id, options=[undefer("*")])


def ends_of(server: Database, task_id: UUID) -> int:
    with server.transaction() as session:
        query = text("SELECT count(*) FROM events WHERE task_id = :id AND kind = 'TaskFinished'")
        return int(session.scalar(query, {"id": task_id}) or 0)


def expire(server: Database, token: UUID) -> None:
    with server.transaction() as session:
        session.execute(
            text("UPDATE attempts SET lease_until = now() - interval '1 second' WHERE token = :token"), {"token": token}
        )


def sweep(server: Database) -> int:
    return sweeps.sweep(server, replace_lease(SETTINGS).queue_rules)


def replace_lease(settings: Settings) -> Settings:
    """The server of a test is younger than a lease; the grace after a restart has its own test."""
    return settings.model_copy(update={"lease_seconds": 0.0})


def test_a_claimed_task_is_handed_out_once(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    (first,) = claim(database)
    assert (first.task_id, first.number, claim(database)) == (task_id, 1, [])


def test_an_end_is_recorded_once_with_what_was_used(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    (claimed,) = claim(database)
    assert end(database, claimed.token) is TaskState.COMPLETED
    assert end(database, claimed.token) is None
    task = task_of(database, task_id)
    assert (task.state, task.result, task.runtime_seconds, task.peak_memory_mb) == (
        "completed",
        {"stress": 1.0},
        1.5,
        64.0,
    )
    assert ends_of(database, task_id) == 1


def test_a_late_worker_changes_nothing(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    (late,) = claim(database)
    expire(database, late.token)
    assert sweep(database) == 1
    (second,) = claim(database)
    with database.transaction() as session:
        logs.append(session, task_id, late.token, [Line(0, "stdout", "late")])
        assert claims.renew(session, [late.token], SETTINGS.queue_rules) == set()
    assert end(database, late.token, replace(DONE, result={"stress": -1.0})) is None
    assert end(database, second.token) is TaskState.COMPLETED
    task = task_of(database, task_id)
    assert (task.result, task.attempts, ends_of(database, task_id)) == ({"stress": 1.0}, 2, 1)
    with database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM task_logs WHERE task_id = :id"), {"id": task_id}) == 0


def test_leases_that_are_renewed_are_not_taken_back(database: Database) -> None:
    add_tasks(database, organization(database), 1)
    (claimed,) = claim(database)
    expire(database, claimed.token)
    with database.transaction() as session:
        assert claims.renew(session, [claimed.token], SETTINGS.queue_rules) == {claimed.token}
    assert sweep(database) == 0


def test_nobody_is_called_lost_right_after_the_database_restarted(database: Database) -> None:
    add_tasks(database, organization(database), 1)
    (claimed,) = claim(database)
    expire(database, claimed.token)
    assert sweeps.sweep(database, SETTINGS.model_copy(update={"lease_seconds": 86_400.0}).queue_rules) == 0


def test_a_task_that_keeps_losing_its_machine_is_parked_with_its_reason(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    for _ in range(SETTINGS.max_attempts):
        with database.transaction() as session:
            session.execute(text("UPDATE tasks SET claimable = true, hold_reason = NULL WHERE state = 'queued'"))
        (claimed,) = claim(database)
        expire(database, claimed.token)
        sweep(database)
    task = task_of(database, task_id)
    assert (task.state, task.parked, task.attempts) == ("lost", True, SETTINGS.max_attempts)
    assert "Given up after 5" in str(task.error_message)


def test_a_users_error_is_retried_only_when_asked_and_waits_its_turn(database: Database) -> None:
    policy = {"max": 1, "backoff_seconds": 100.0, "on": ["user_error"]}
    (task_id,) = add_tasks(database, organization(database), 1, retries=policy)
    (claimed,) = claim(database)
    failure = Outcome(FailureKind.USER_ERROR, USED, "user_error", "ValueError: no")
    assert end(database, claimed.token, failure) is TaskState.QUEUED
    assert (task_of(database, task_id).hold_reason, claim(database)) == ("backoff", [])
    with database.transaction() as session:
        session.execute(text("UPDATE tasks SET not_before = now() - interval '1 second'"))
        assert due_lanes(session) == [Lane.DEFAULT]
    (again,) = claim(database)
    assert end(database, again.token, failure) is TaskState.FAILED
    task = task_of(database, task_id)
    assert (task.error_code, task.attempts, ends_of(database, task_id)) == ("user_error", 2, 1)


def test_a_drained_worker_is_nobodys_failure(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    (claimed,) = claim(database)
    drained = Outcome(FailureKind.LOST_MACHINE, USED, "worker_drained", "stopped", interruption=Interruption.DRAINED)
    assert end(database, claimed.token, drained) is TaskState.QUEUED
    task = task_of(database, task_id)
    assert (task.machine_failures, task.claimable) == (0, True)


def test_a_running_task_that_was_cancelled_ends_as_cancelled_even_when_its_worker_is_lost(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    (claimed,) = claim(database)
    with database.transaction() as session:
        session.execute(text("UPDATE tasks SET cancel_requested_at = now() WHERE id = :id"), {"id": task_id})
        assert claims.cancelled(session, [task_id]) == {claimed.token}
    expire(database, claimed.token)
    sweep(database)
    assert task_of(database, task_id).state == "cancelled"


def test_memory_is_reserved_in_full_across_the_processes_of_a_node(database: Database) -> None:
    add_node(database, "node-1", cpu=100, memory_mb=1300)
    add_tasks(database, organization(database), 5)
    assert len(claim(database, 2)) + len(claim(database, 2, worker=Worker("node-1", "node-1-2", "fake"))) == 2


def test_a_node_that_refuses_work_gets_none(database: Database) -> None:
    add_node(database, "node-1", accepts_work=False, refusal="the sandbox does not hold")
    add_tasks(database, organization(database), 1)
    assert claim(database) == []


def test_high_priority_is_first_in_first_out_whatever_the_priority(database: Database) -> None:
    tenant = organization(database)
    function_id = function(database, tenant)
    wanted = [
        add_tasks(database, tenant, 1, lane="high_priority", rank=0, priority=p, function_id=function_id)[0]
        for p in (1, 9, 5)
    ]
    assert [item.task_id for item in claim(database, lane=Lane.HIGH_PRIORITY)] == wanted


def test_priority_orders_the_other_lanes(database: Database) -> None:
    tenant = organization(database)
    function_id = function(database, tenant)
    low, high = (add_tasks(database, tenant, 1, rank=9 - p, priority=p, function_id=function_id)[0] for p in (1, 9))
    assert [item.task_id for item in claim(database)] == [high, low]


def test_a_flood_of_one_organization_does_not_hold_up_another(database: Database) -> None:
    flood, small = organization(database), organization(database)
    add_tasks(database, flood, 60)
    claim(database, 10)
    (task_id,) = add_tasks(database, small, 1)
    assert task_id in [item.task_id for item in claim(database, 2)]


def test_an_organization_has_at_most_its_share_running(database: Database) -> None:
    add_tasks(database, organization(database), 10)
    settings = SETTINGS.model_copy(update={"organization_max_running": 3})
    assert len(claim(database, 10, settings=settings)) == 3
    assert claim(database, 10, settings=settings) == []


def test_long_running_is_throttled(database: Database) -> None:
    add_tasks(database, organization(database), 10, lane="long_running")
    settings = SETTINGS.model_copy(update={"long_running_max_running": 2})
    assert len(claim(database, 10, lane=Lane.LONG_RUNNING, settings=settings)) == 2
    assert claim(database, 10, lane=Lane.LONG_RUNNING, settings=settings) == []


def test_every_attempt_keeps_where_it_ran_and_how_it_ended(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    (first,) = claim(database)
    expire(database, first.token)
    sweep(database)
    (second,) = claim(database)
    end(database, second.token)
    with database.transaction() as session:
        kept = session.query(Attempt).filter_by(task_id=task_id).order_by(Attempt.number).all()
        assert [(item.number, item.node, item.state) for item in kept] == [
            (1, "node-1", "lost_machine"),
            (2, "node-1", "completed"),
        ]


def test_long_tasks_do_not_shut_the_short_ones_out(database: Database) -> None:
    add_node(database, "node-1", cpu=4, memory_mb=8192)
    tenant = organization(database)
    function_id = function(database, tenant)
    add_tasks(database, tenant, 10, memory_mb=1024, cpu=1, function_id=function_id)
    assert len(claim(database, 10)) == 4
    add_tasks(database, tenant, 1, lane="high_priority", rank=0, memory_mb=1024, cpu=1, function_id=function_id)
    assert len(claim(database, 10, lane=Lane.HIGH_PRIORITY)) == 1


def test_memory_is_kept_for_the_short_ones_within_one_claim_on_an_idle_node(database: Database) -> None:
    add_node(database, "node-1", cpu=100, memory_mb=8192)
    tenant = organization(database)
    function_id = function(database, tenant)
    add_tasks(database, tenant, 10, memory_mb=1024, cpu=1, function_id=function_id)
    assert len(claim(database, 10)) == 7
    add_tasks(database, tenant, 1, lane="high_priority", rank=0, memory_mb=1024, cpu=1, function_id=function_id)
    assert len(claim(database, 10, lane=Lane.HIGH_PRIORITY)) == 1


def test_a_task_as_large_as_the_node_starts_when_the_node_is_idle(database: Database) -> None:
    add_node(database, "node-1", cpu=4, memory_mb=8192)
    add_tasks(database, organization(database), 1, memory_mb=8192)
    assert len(claim(database, 10)) == 1


def test_what_could_not_be_stored_is_tried_again_a_little_later(database: Database) -> None:
    (task_id,) = add_tasks(database, organization(database), 1)
    (claimed,) = claim(database)
    full = Outcome(FailureKind.LOST_MACHINE, USED, "storage_full", "no room", interruption=Interruption.NO_ROOM)
    assert end(database, claimed.token, full) is TaskState.QUEUED
    assert (task_of(database, task_id).hold_reason, task_of(database, task_id).machine_failures) == ("backoff", 0)
