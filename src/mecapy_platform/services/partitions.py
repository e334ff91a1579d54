"""Months of the partitioned tables: made ahead, and dropped when nothing of them is to be kept, see ADR 17."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text

from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.db.errors import DatabaseAwayError
from mecapy_platform.db.session import Database

MONTHS_AHEAD = 2

MAKE = text("SELECT mecapy_make_partitions(:ahead)")
KEPT_AT_ONCE = 5000  # rows that stay, in a transaction
LOCK_TRIES = 10  # each of which waits half a second

BEGIN = text("SELECT mecapy_keep_begin(:table, :month)")
KEEP = text("SELECT mecapy_keep_some(:table, :month, :kept, cast(:staying AS uuid[]), :most)")
DROP = text("SELECT mecapy_drop_month(:table, :month, :kept, cast(:staying AS uuid[]))")

# Whole months of events, oldest first, of which each task was submitted longer ago than events are kept.
OLD_MONTHS = text("""
SELECT month FROM (
    SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'events'::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
) made
WHERE month + interval '1 month' < (now() - cast(:kept AS interval)) AT TIME ZONE 'UTC' ORDER BY month
""")

# Tasks of a month that are not over, or not for long: what belongs to them stays.
UNFINISHED = text("""
SELECT id FROM tasks
WHERE id >= mecapy_lowest_id(:month) AND id < mecapy_lowest_id(cast(:month AS date) + interval '1 month')
    AND (completed_at IS NULL OR completed_at >= now() - cast(:kept AS interval))
""")


def make_ahead(database: Database) -> int:
    """The partitions of this month and of those that come. Returns how many were missing."""
    with database.transaction() as session:
        return int(session.execute(MAKE, {"ahead": MONTHS_AHEAD}).scalar_one())


def drop_month(database: Database, table: str, month: date, kept: timedelta, pinned: Collection[UUID] = ()) -> int:
    """Drop the oldest month of a table. Returns how many rows stayed.

    What belongs to tasks that are `pinned`, that are not over, or that ended within `kept`, is kept; so do events
    that are younger or have no number yet. Objects in storage are not touched: who drops artifacts has deleted those
    before. Everybody goes on reading and writing while rows are copied; the table is locked for a moment at the end.
    """
    with database.transaction() as session:
        unfinished = session.scalars(UNFINISHED, {"month": month, "kept": kept}).all()
    values = {"table": table, "month": month, "kept": kept, "staying": [*unfinished, *pinned], "most": KEPT_AT_ONCE}
    _locked(database, BEGIN, values)
    is_copied = False
    while not is_copied:
        with database.transaction() as session:
            is_copied = session.execute(KEEP, values).scalar_one() == 0
    return int(_locked(database, DROP, values))


def _locked(database: Database, statement: TextClause, values: Mapping[str, object]) -> Any:
    """What a statement that needs a lock answers; DatabaseAwayError when others held that all the time."""
    for _ in range(LOCK_TRIES - 1):
        with suppress(DatabaseAwayError), database.transaction() as session:
            return session.execute(statement, values).scalar_one()
    with database.transaction() as session:
        return session.execute(statement, values).scalar_one()


def drop_old_events(database: Database, rules: QueueRules) -> int:
    """Whole months of events that are kept no longer. Returns how many months went."""
    kept = timedelta(days=rules.events_kept_days)
    with database.transaction() as session:
        months = session.scalars(OLD_MONTHS, {"kept": kept}).all()
    for month in months:
        drop_month(database, "events", month, kept)
    return len(months)
