"""Ends that go together.

Each behind its own token, none held back by a neighbour, large results and lost databases included.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import undefer

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import FailureKind, TaskState, Usage
from mecapy_platform.db.fast_path import WORKER_STATEMENTS
from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Attempt, Event, StoredValue, Task, TaskLog
from mecapy_platform.db.wire import Wire
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.sandbox.base import LogChunk
from mecapy_platform.services import claims
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.services.fast_claim import FastClaim
from mecapy_platform.services.fast_finish import EndedAttempt, Finished, fast_finish, is_common
from mecapy_platform.services.finish import Outcome, finish, take_back_lost
from mecapy_platform.services.logs import Line
from mecapy_platform.settings import Settings
from mecapy_platform.storage.base import Stored
from mecapy_platform.worker.finisher import Finisher
from mecapy_platform.worker.live import LiveAttempt, LiveAttempts
from mecapy_platform.worker.pump import Pump
from mecapy_platform.worker.report import Report
from support import factories
from support.platform.services import postgres
from support.reading_events import events_read_back

SETTINGS = Settings(lease_seconds=15, organization_max_running=1000)
USED = Usage(1.5, 1.0, 64.0)
LONG = 60.0


@pytest.fixture
def database(database: Database) -> Iterator[Database]:
    """With an empty queue and a node."""
    with database.transaction() as session:
        for table in ("events", "tasks", "lane_shares", "nodes"):
            session.execute(text(f"DELETE FROM {table}"))
        factories.see_node(session, cpu=1000, memory_mb=1 << 20)
    yield database
    assert events_read_back(database) is not None


@pytest.fixture
def wire(server: Postgres) -> Iterator[Wire]:
    opened = Wire(server.worker_url, WORKER_STATEMENTS)
    yield opened
    opened.close()


def claimed(database: Database, count: int) -> list[Claim]:
    """So many running tasks."""
    with database.transaction() as session:
        organization = factories.organization_of(session)
    package = factories.ready_package(database, organization, uuid4())
    with database.transaction() as session:
        for number in range(count):
            inputs = {"nonce": number}
            where = organization, package.version_id, package.functions["size"]
            session.add(factories.queued_task(*where, number, inputs=inputs))
    with database.transaction() as session:
        return claims.claim(session, Worker("node", "node-1", "fake"), Lane.DEFAULT, count, SETTINGS.queue_rules)


def done(number: int = 1, **changes: Any) -> Outcome:
    return Outcome(None, USED, **{"result": {"value": number}, **changes})


def task_of(database: Database, task_id: UUID) -> Task:
    with database.transaction() as session:
        return session.get_one(Task, task_id, options=[undefer("*")])


def states(database: Database) -> list[str]:
    with database.transaction() as session:
        return sorted(session.scalars(select(Task.state)).all())


def ends(database: Database) -> int:
    with database.transaction() as session:
        return len(session.scalars(select(Event).where(Event.kind == "TaskFinished")).all())


def context(server: Postgres, database: Database, tmp_path: Path, points: list[str]) -> Any:
    settings = SETTINGS.model_copy(update={"database_worker_url": server.worker_url, "data_dir": tmp_path})
    return SimpleNamespace(
        settings=settings, database=database, send=lambda _lanes: None, probe=lambda point, _claim: points.append(point)
    )


class Offered:
    """A finisher with a count of what it is through with."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.rung: list[Lane] = []
        self.finisher = Finisher(context, self.rung.extend, lambda _lanes: None)
        self.through = threading.Semaphore(0)

    def offer(self, claim: Claim, outcome: Outcome, *lines: str) -> None:
        pump = Pump(self.context, claim)
        for line in lines:
            pump._add("stdout", line)
        self.finisher.offer(Report(claim, outcome, pump), self.through.release)

    def wait(self, count: int) -> None:
        assert all(self.through.acquire(timeout=LONG) for _ in range(count)), "an end was forgotten"
        self.finisher.close()


def ended_now(wire: Wire, given: list[EndedAttempt]) -> Finished:
    with fast_finish(wire, given) as finished:
        return finished


def test_many_ends_go_in_one_statement_with_their_results_usage_and_lines(database: Database, wire: Wire) -> None:
    running = claimed(database, 20)
    given = [
        EndedAttempt(item.token, done(number), [Line(0, "stdout", f"line {number}\n")])
        for number, item in enumerate(running)
    ]
    finished = ended_now(wire, given)
    assert finished.tokens == {item.token for item in running}
    assert (states(database), ends(database)) == (["completed"] * 20, 20)
    with database.transaction() as session:
        assert len(session.execute(text("SELECT DISTINCT xmin::text FROM tasks")).all()) == 1
        attempts = session.scalars(select(Attempt)).all()
        lines = {item.task_id: item.text for item in session.scalars(select(TaskLog))}
    assert {
        (attempt.state, attempt.wall_seconds, attempt.cpu_seconds, attempt.peak_memory_mb) for attempt in attempts
    } == {("completed", 1.5, 1.0, 64.0)}
    for number, item in enumerate(running):
        task = task_of(database, item.task_id)
        assert (task.result, task.runtime_seconds, task.attempt_token) == ({"value": number}, 1.5, None)
        assert lines[item.task_id] == f"line {number}\n"


def test_a_token_that_no_longer_counts_changes_nothing_among_ones_that_do(database: Database, wire: Wire) -> None:
    late, good = claimed(database, 2)
    with database.transaction() as session:
        session.execute(
            text("UPDATE attempts SET lease_until = now() - interval '1 s' WHERE token = :token"), {"token": late.token}
        )
    with database.transaction() as session:
        assert take_back_lost(session, Settings(lease_seconds=0).queue_rules) == 1
    finished = ended_now(
        wire, [EndedAttempt(late.token, done(1)), EndedAttempt(good.token, done(2)), EndedAttempt(uuid4(), done(3))]
    )
    assert finished.tokens == {good.token}
    assert (task_of(database, late.task_id).state, task_of(database, good.task_id).state) == ("queued", "completed")
    assert finished.lanes == (Lane.DEFAULT,), "the one that was taken back waits again"
    assert ended_now(wire, [EndedAttempt(good.token, done(4))]).tokens == frozenset()
    assert (task_of(database, good.task_id).result, ends(database)) == ({"value": 2}, 1)


def test_a_row_that_somebody_holds_is_passed_over_and_waits_for_nobody(database: Database, wire: Wire) -> None:
    held, free = claimed(database, 2)
    with database.transaction() as session:
        session.execute(text("SELECT FROM tasks WHERE id = :id FOR UPDATE"), {"id": held.task_id})
        assert ended_now(wire, [EndedAttempt(held.token, done()), EndedAttempt(free.token, done())]).tokens == {
            free.token
        }
    assert ended_now(wire, [EndedAttempt(held.token, done())]).tokens == {held.token}


def test_all_who_wait_are_woken_by_the_transaction_that_ends_their_tasks(
    server: Postgres, database: Database, wire: Wire
) -> None:
    running = claimed(database, 100)
    with psycopg.connect(server.worker_url.replace("+psycopg", ""), autocommit=True) as listener:
        listener.execute("LISTEN mecapy_ended")
        ended_now(wire, [EndedAttempt(item.token, done()) for item in running])
        payloads = [notice.payload for notice in listener.notifies(timeout=LONG, stop_after=100)]
    assert {payload.partition(" ")[0] for payload in payloads} == {f"task:{item.task_id}" for item in running}


def test_a_small_end_comes_with_the_ring_and_a_large_one_does_not(
    server: Postgres, database: Database, wire: Wire
) -> None:
    small, large, odd = claimed(database, 3)
    given = [
        EndedAttempt(small.token, done(7)),
        EndedAttempt(large.token, done(result={"value": "x" * 7900})),
        EndedAttempt(odd.token, done(result={"value": "Ω" * 3600})),  # 7,200 bytes, and the rest does not fit any more
    ]
    with psycopg.connect(server.worker_url.replace("+psycopg", ""), autocommit=True) as listener:
        listener.execute("LISTEN mecapy_ended")
        ended_now(wire, given)
        payloads = [notice.payload.partition(" ") for notice in listener.notifies(timeout=LONG, stop_after=3)]
    told = {key: rest for key, _, rest in payloads}
    assert [told[f"task:{item.task_id}"] for item in (large, odd)] == ["", ""]
    said = json.loads(told[f"task:{small.task_id}"])
    assert (said["result"], said["wall_seconds"], said["attempts"][0]["number"]) == ({"value": 7}, 1.5, 1)
    assert datetime.fromisoformat(said["completed_at"]) == task_of(database, small.task_id).completed_at


class SomeSlots:
    """An engine's slots, of which so many are free."""

    def __init__(self, wire: Wire, database: Database, free: int) -> None:
        self.fast_claim = FastClaim(
            wire, database, Worker("node", "node-1", "fake"), SETTINGS.queue_rules, Lane.DEFAULT
        )
        self.free, self.begun = free, list[LiveAttempt]()

    def reserve(self, wanted: int) -> int:
        kept = min(self.free, wanted)
        self.free -= kept
        return kept

    def packs_among(self, reserved: int) -> int:
        return reserved

    def begin(self, claims: Sequence[Claim], reserved: int = 0, *, is_recorded: bool = True) -> Sequence[LiveAttempt]:
        started = [LiveAttempts().add(claim, is_recorded=is_recorded) for claim in claims]
        self.free += reserved - len(started)
        self.begun += started
        return started

    def confirm_claims(self, started: Sequence[LiveAttempt], *, is_committed: bool) -> None:
        self.committed = is_committed
        for live in started:
            live.recorded.set()


def test_the_slots_that_become_free_are_filled_in_the_same_transaction(
    server: Postgres, database: Database, tmp_path: Path
) -> None:
    running = claimed(database, 4)
    with database.transaction() as session:
        waiting = running[1:]
        session.execute(
            text("DELETE FROM attempts WHERE task_id = ANY (:ids)"), {"ids": [item.task_id for item in waiting]}
        )
        session.execute(
            text(
                "UPDATE tasks SET state = 'queued', claimable = true, attempts = 0, attempt_token = NULL WHERE id = "
                "ANY (:ids)"
            ),
            {"ids": [item.task_id for item in waiting]},
        )
    offered = Offered(context(server, database, tmp_path, []))
    slots = SomeSlots(offered.finisher._wire, database, free=1)
    offered.finisher.offer(
        Report(running[0], done(), Pump(offered.context, running[0])), offered.through.release, slots
    )
    offered.wait(1)
    (begun,) = slots.begun
    assert (begun.recorded.is_set(), slots.committed) == (True, True)
    assert (begun.claim.task_id, slots.free) == (waiting[0].task_id, 0)
    assert sorted(states(database)) == ["completed", "queued", "queued", "running"]
    assert offered.rung == [Lane.DEFAULT], "two still wait, and another may have room"
    with database.transaction() as session:
        query = text("SELECT count(DISTINCT xmin::text) FROM tasks WHERE state IN ('completed', 'running')")
        assert session.scalar(query) == 1


def test_without_a_free_slot_nothing_is_claimed(server: Postgres, database: Database, tmp_path: Path) -> None:
    running = claimed(database, 2)
    with database.transaction() as session:
        session.execute(text("DELETE FROM attempts WHERE task_id = :id"), {"id": running[1].task_id})
        session.execute(
            text(
                "UPDATE tasks SET state = 'queued', claimable = true, attempts = 0, attempt_token = NULL WHERE id = :id"
            ),
            {"id": running[1].task_id},
        )
    offered = Offered(context(server, database, tmp_path, []))
    slots = SomeSlots(offered.finisher._wire, database, free=0)
    offered.finisher.offer(
        Report(running[0], done(), Pump(offered.context, running[0])), offered.through.release, slots
    )
    offered.wait(1)
    assert (slots.begun, states(database)) == ([], ["completed", "queued"])


def test_an_end_that_cannot_be_stored_holds_back_no_neighbour(
    server: Postgres, database: Database, tmp_path: Path
) -> None:
    points: list[str] = []
    offered = Offered(context(server, database, tmp_path, points))
    running = claimed(database, 5)
    offered.finisher._at_work.acquire()  # so that all five are there before the first is looked at
    for number, item in enumerate(running):
        offered.offer(item, done(result={"value": "a NUL \0 in a text"}) if number == 2 else done(number))
    offered.finisher._at_work.release()
    offered.finisher._finish_waiting()
    offered.wait(5)
    found = [task_of(database, entry.task_id) for entry in running]
    assert [entry.state for entry in found if entry is not found[2]] == ["completed"] * 4
    assert found[2].state in {"completed", "failed"}, "it was given an end of its own"
    assert points.count("finished") == 5


def test_what_is_unusual_ends_alone_and_keeps_its_rules(server: Postgres, database: Database, tmp_path: Path) -> None:
    offered = Offered(context(server, database, tmp_path, []))
    failed, completed, lost = claimed(database, 3)
    offered.offer(failed, Outcome(FailureKind.USER_ERROR, USED, "user_error", "ValueError: no"), "said before\n")
    offered.offer(completed, done(), *(f"{number}\n" for number in range(500)))  # too many lines to ride along
    offered.offer(lost, Outcome(FailureKind.LOST_MACHINE, USED, "sandbox_lost", "gone"))
    offered.wait(3)
    assert [task_of(database, item.task_id).state for item in (failed, completed, lost)] == [
        "failed",
        "completed",
        "queued",
    ]
    with database.transaction() as session:
        counts = [
            len(session.scalars(select(TaskLog).where(TaskLog.task_id == item.task_id)).all())
            for item in (failed, completed)
        ]
    assert counts == [1, 500]
    assert Lane.DEFAULT in offered.rung


def test_ends_from_many_slots_at_once_are_all_told(server: Postgres, database: Database, tmp_path: Path) -> None:
    points: list[str] = []
    offered = Offered(context(server, database, tmp_path, points))
    running = claimed(database, 200)
    parts = [running[number::8] for number in range(8)]

    def bring(part: list[Claim]) -> None:
        for item in part:
            offered.offer(item, done(), "one line\n")

    slots = [threading.Thread(target=bring, args=(part,)) for part in parts]
    for slot in slots:
        slot.start()
    for slot in slots:
        slot.join(LONG)
    offered.wait(200)
    assert (states(database), ends(database), points.count("finished")) == (["completed"] * 200, 200, 200)
    with database.transaction() as session:
        transactions = len(session.execute(text("SELECT DISTINCT xmin::text FROM tasks")).all())
    assert transactions < 200, "no two went together"


def test_ends_wait_for_a_database_that_is_away(tmp_path: Path) -> None:
    with postgres() as server:
        migrate(server.owner_url)
        database = Database(make_engine(server.worker_url))
        with database.transaction() as session:
            factories.see_node(session, cpu=9, memory_mb=1 << 20)
        offered = Offered(context(server, database, tmp_path, []))
        first, second = claimed(database, 2)
        offered.offer(first, done())
        server.stop()
        bringing = threading.Thread(target=offered.offer, args=(second, done()))
        bringing.start()
        server.start()
        bringing.join(LONG)
        offered.wait(2)
        assert states(database) == ["completed"] * 2
        database.dispose()


def test_a_result_of_a_quarter_megabyte_fits_the_short_way(database: Database, wire: Wire) -> None:
    (one,) = claimed(database, 1)
    large = {"values": [0.1234567890123] * 15_000, "text": "Ω" * 10_000}
    assert ended_now(wire, [EndedAttempt(one.token, done(result=large))]).tokens == {one.token}
    assert task_of(database, one.task_id).result == large


def test_a_stored_result_is_named_on_its_task(database: Database, wire: Wire) -> None:
    (one,) = claimed(database, 1)
    outcome = done(result=None, stored_result=Stored("results/key", 300_000, "0" * 64))
    assert not is_common(outcome)
    with database.transaction() as session:
        assert finish(session, one.token, outcome, SETTINGS.queue_rules) is TaskState.COMPLETED
    with database.transaction() as session:
        task = session.get_one(Task, one.task_id, options=[undefer(Task.result)])
        value = session.get_one(StoredValue, task.result_ref)
    assert (task.result, value.key, value.size_bytes) == (None, "results/key", 300_000)
    assert value.organization_id == task.organization_id


def test_output_is_kept_as_said(server: Postgres, database: Database, tmp_path: Path) -> None:
    built = context(server, database, tmp_path, [])
    (one,) = claimed(database, 1)
    pump = Pump(built, one)
    pump.take(LogChunk("stdout", "a NUL \0 and \u2028 more\n" + "x" * 5000))
    offered = Offered(built)
    offered.finisher.offer(Report(one, done(), pump), offered.through.release)
    offered.wait(1)
    with database.transaction() as session:
        (kept,) = session.scalars(select(TaskLog.text).where(TaskLog.task_id == one.task_id))
    assert kept == "a NUL � and \u2028 more\n" + "x" * 5000
