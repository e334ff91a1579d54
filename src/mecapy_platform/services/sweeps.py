"""What is done again and again so that nothing lost stays lost: leases, due retries, counts, leftovers."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.db import queue
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Attempt, IdempotencyKey, Upload
from mecapy_platform.services.finish import take_back_lost
from mecapy_platform.services.values import free_unneeded
from mecapy_platform.storage.base import Storage, try_delete
from mecapy_platform.storage.keys import attempt_prefix

KEPT_KEYS = timedelta(days=7)
KEPT_UPLOADS = timedelta(days=7)
LEFTOVERS_AFTER = timedelta(hours=1)  # a late worker may still be writing for a while


def sweep(database: Database, rules: QueueRules) -> int:
    """The frequent one. Returns how many attempts were taken back."""
    with database.transaction() as session:
        if not session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtextextended('mecapy-sweep', 0))")):
            return 0
        return take_back_lost(session, rules)


def count_queued(database: Database) -> None:
    """Figures that submits read instead of counting themselves."""
    with database.transaction() as session:
        session.execute(queue.COUNT_QUEUED)
        session.execute(queue.COUNT_NONE_QUEUED)


def learn_durations(database: Database) -> None:
    """How long functions take, for choosing a lane."""
    with database.transaction() as session:
        session.execute(queue.LEARN_DURATIONS)


def delete_leftovers(database: Database, storage: Storage) -> None:
    """Leftovers of attempts that do not count, old idempotency keys, uploads and stored values that no task uses.

    What the store does not let go of keeps its row, and is looked at again.
    """
    with database.transaction() as session:
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - KEPT_KEYS))
        attempts = _unswept(session)
        unused = (Upload.created_at < func.now() - KEPT_UPLOADS, Upload.is_used.is_(False))
        uploads = [(row.id, row.key) for row in session.execute(select(Upload.id, Upload.key).where(*unused))]
    uploads = [(upload_id, key) for upload_id, key in uploads if try_delete(storage, key)]
    with database.transaction() as session:  # last, so that no object is left without a row that names it
        session.execute(delete(Upload).where(Upload.id.in_([upload_id for upload_id, _ in uploads]), *unused))
    attempts = [
        attempt
        for attempt in attempts
        if try_delete(storage, attempt_prefix(attempt.organization_id, attempt.task_id, attempt.number))
    ]
    with database.transaction() as session:
        session.execute(
            update(Attempt).where(Attempt.id.in_([attempt.id for attempt in attempts])).values(leftovers_removed=True)
        )
    free_unneeded(database, storage)


def _unswept(session: Session) -> Sequence[Attempt]:
    query = select(Attempt).where(Attempt.ended_at < func.now() - LEFTOVERS_AFTER, Attempt.leftovers_removed.is_(False))
    return session.scalars(query.limit(200)).all()
