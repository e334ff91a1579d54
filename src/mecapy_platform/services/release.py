"""Decides which lanes have work that may go now, and says so.

The sender of hints is handed in; a lost hint costs seconds.
"""

import logging
from collections.abc import Callable, Iterable

from sqlalchemy.orm import Session

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db import queue
from mecapy_platform.db.session import Database

Sender = Callable[[Iterable[Lane]], None]
log = logging.getLogger(__name__)


def release(database: Database, send: Sender) -> None:
    """Let go what was held back and is due, then hint each lane that has work.

    Called after a submit, after a finish, by the sweep.
    """
    with database.transaction() as session:
        lanes = due_lanes(session)
    if lanes:
        send(lanes)


def due_lanes(session: Session) -> list[Lane]:
    """The lanes in which a worker would find something to claim. Builds ride in the default lane."""
    session.execute(queue.DUE)
    lanes = {Lane(name) for name in session.scalars(queue.LANES_WITH_WORK)}
    if session.scalar(queue.BUILD_WAITING):
        lanes.add(Lane.DEFAULT)
    return sorted(lanes)
