"""Runs that outlive their worker.

Named on their attempt, taken over under a new token, told from those that no longer count.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.db import adopt as statements
from mecapy_platform.sandbox.base import Seen
from mecapy_platform.services import logs
from mecapy_platform.services.claims import Claim, Worker


@dataclass(frozen=True)
class Adopted:
    """A run to go on with: its attempt under a new token, and how much of its output is kept."""

    claim: Claim
    reference: str
    seen: Seen
    next_index: int


def note_reference(session: Session, token: UUID, reference: str, backend: str) -> bool:
    """Write a run's durable name on its attempt; False when the attempt no longer counts."""
    values = {"token": token, "reference": reference, "backend": backend}
    return session.execute(statements.NOTE_REFERENCE, values).first() is not None


def let_go(session: Session, token: UUID) -> None:
    """Give up the lease of a run that goes on, so that the next worker of this node need not wait for its end."""
    session.execute(statements.LET_GO, {"token": token})


def other_workers(session: Session, worker: Worker) -> Sequence[str]:
    """The names of other processes that hold durable runs on this node."""
    return session.scalars(statements.OTHER_WORKERS, {"node": worker.node, "worker": worker.process}).all()


def take_over(
    session: Session, worker: Worker, lanes: Collection[Lane], dead: Sequence[str], rules: QueueRules
) -> list[Adopted]:
    """Take the node's durable runs whose lease has run out, or whose worker is among the `dead`.

    Each gets a new token in the same transaction, so the old worker's writes no longer count, whenever they come.
    """
    values = {
        "node": worker.node,
        "worker": worker.process,
        "lanes": sorted(lanes),
        "dead": list(dead),
        "lease_seconds": rules.lease_seconds,
    }
    adopted = []
    for row in session.execute(statements.TAKE_OVER, values).mappings().all():
        claim, reference = Claim.read(row), row["reference"]
        seen = session.execute(statements.SEEN, {"task_id": claim.task_id, "number": claim.number}).mappings().one()
        adopted.append(Adopted(claim, reference, Seen(**seen), logs.next_index(session, claim.task_id)))
    return adopted


def still_count(session: Session, task_ids: Iterable[UUID]) -> set[tuple[UUID, int]]:
    """Of these tasks, the (task, attempt number) pairs that have not ended."""
    wanted = list(task_ids)
    if not wanted:
        return set()
    return {(row.task_id, row.number) for row in session.execute(statements.STILL_COUNT, {"task_ids": wanted})}
