"""The one writer of events outside SQL functions, and what the relay does with them: numbers and retention.

`events.id` is given before commit, so who reads by it misses what commits late. `number` is given by the relay, to rows
that are committed: who reads by it misses nothing and sees no gap.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from mecapy_platform.core.events import EventRecord, data_of, kind_of
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Event

NUMBER = text("SELECT mecapy_number_events(:most)")
PURGE = text("SELECT mecapy_purge_events(:kept, :most)")
NUMBERED_AT_ONCE = 1000
PURGED_AT_ONCE = 5000


def record(session: Session, event: EventRecord, organization_id: UUID, task_id: UUID | None = None) -> None:
    """Write an event, to be committed with what it tells of."""
    session.add(Event(organization_id=organization_id, task_id=task_id, kind=kind_of(event), data=data_of(event)))


def number(database: Database) -> int:
    """Give the next numbers to what is committed and has none. Returns how many."""
    numbered = 0
    while True:
        with database.transaction() as session:
            made = int(session.execute(NUMBER, {"most": NUMBERED_AT_ONCE}).scalar_one())
        numbered += made
        if made < NUMBERED_AT_ONCE:
            return numbered


def purge(database: Database, rules: QueueRules) -> int:
    """Delete numbered events that are older than `events_kept_days`. Returns how many."""
    purged = 0
    while True:
        with database.transaction() as session:
            values = {"kept": timedelta(days=rules.events_kept_days), "most": PURGED_AT_ONCE}
            gone = int(session.execute(PURGE, values).scalar_one())
        purged += gone
        if gone < PURGED_AT_ONCE:
            return purged
