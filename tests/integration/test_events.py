"""Events are numbered in commit order, kept for a while, and all of a shape that core/events knows."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, text

from mecapy_platform.core.events import TaskQueued, read
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Event
from mecapy_platform.services import events
from mecapy_platform.settings import Settings

NUMBERS = text("SELECT data ->> 'lane' AS lane, number FROM events WHERE number IS NOT NULL ORDER BY number")


@pytest.fixture
def database(own_database: Database) -> Database:
    return own_database


def numbered(database: Database) -> dict[str, int]:
    with database.transaction() as session:
        return {row.lane: row.number for row in session.execute(NUMBERS)}


def note(database: Database, name: str) -> None:
    with database.transaction() as session:
        events.record(session, TaskQueued(name), uuid4())


def test_what_commits_late_gets_a_later_number(database: Database) -> None:
    with database.transaction() as late:
        events.record(late, TaskQueued("late"), uuid4())
        late.flush()  # its id is the first one, and nobody sees it yet
        note(database, "early")
        assert events.number(database) == 1
    assert events.number(database) == 1
    assert numbered(database) == {"early": 1, "late": 2}


def test_two_relays_leave_no_gap_and_give_no_number_twice(database: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(note, database, f"n{number}") for number in range(200)]
        relays = [threads.submit(events.number, database) for _ in range(20)]
        for written in writing:
            written.result()
        assert sum(relay.result() for relay in relays) <= 200
    events.number(database)
    assert sorted(numbered(database).values()) == list(range(1, 201))


def test_numbers_go_on_after_what_had_them_is_purged(database: Database) -> None:
    for name in ("old", "old too", "young"):
        note(database, name)
    events.number(database)
    note(database, "old without a number")
    with database.transaction() as session:
        session.query(Event).where(Event.data["lane"].as_string().like("old%")).update(
            {"created_at": func.now() - timedelta(days=31)}, synchronize_session=False
        )
    assert events.purge(database, Settings().queue_rules) == 2
    assert numbered(database) == {"young": 3}
    events.number(database)
    assert numbered(database) == {"young": 3, "old without a number": 4}


def test_no_event_is_of_a_shape_that_readers_do_not_know() -> None:
    finished = json.loads(
        '{"state": "failed", "code": "x", "attempt": 1, "wall_seconds": 1, "cpu_seconds": null, "peak_memory_mb": 1}'
    )
    assert read("TaskFinished", finished)
    with pytest.raises(TypeError):
        read("TaskFinished", {"state": "cancelled"})
    with pytest.raises(KeyError):
        read("TaskForgotten", {})
