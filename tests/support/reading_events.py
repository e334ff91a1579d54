"""Events as readers take them."""

from uuid import UUID

from sqlalchemy import select

from mecapy_platform.core.events import EventRecord, kind_of, read
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Event


def events_read_back(database: Database) -> list[tuple[UUID | None, EventRecord]]:
    """Whoever wrote them, SQL or Python: each is a record of core/events. With their tasks, in the order of writing."""
    with database.transaction() as session:
        events = session.scalars(select(Event).order_by(Event.id)).all()
    found = [(event.task_id, read(event.kind, event.data)) for event in events]
    assert [kind_of(record) for _, record in found] == [event.kind for event in events]
    return found
