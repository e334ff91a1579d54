"""Claims of which nobody could read what they run.

Given back uncounted where it cannot be read now, ended where it is gone.
"""

import logging
import threading
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.core.retries import Interruption
from mecapy_platform.core.states import FailureKind, Usage
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.db.session import Database
from mecapy_platform.services.finish import Outcome, finish

log = logging.getLogger(__name__)
NOTHING_USED = Usage(0.0, None, None)
UNREADABLE = Outcome(
    FailureKind.LOST_MACHINE,
    NOTHING_USED,
    "function_unreadable",
    "The platform could not read the function that it runs; it is tried again.",
    interruption=Interruption.OUTAGE,
)
DAMAGED = Outcome(
    FailureKind.LOST_MACHINE,
    NOTHING_USED,
    "function_damaged",
    "The platform no longer has the function that it runs, or not in a form that it understands. Deploy the package "
    "again and submit again.",
)


@dataclass(frozen=True)
class Unread:
    """A claim by its token. `is_damaged`: what it runs is gone for good."""

    token: UUID
    is_damaged: bool


def give_back(session: Session, unread: Unread, rules: QueueRules) -> None:
    """End the attempt, of which nothing began."""
    outcome = DAMAGED if unread.is_damaged else UNREADABLE
    state = finish(session, unread.token, outcome, rules)
    log.warning("the claim with token %s is %s: %s", unread.token, state or "no longer ours", outcome.code)


class UnreadClaims:
    """Of one who claims; kept until the database has taken them back."""

    def __init__(self, database: Database, rules: QueueRules) -> None:
        self._database, self._rules = database, rules
        self._kept: list[Unread] = []
        self._lock = threading.Lock()

    def settle(self, unread: list[Unread]) -> None:
        """Give back what a claim that is committed could not read; what the database does not take now, later."""
        if not unread:
            return
        with self._lock:
            self._kept += unread
        try:
            self.give_back()
        except DatabaseError as error:
            log.warning("claims are given back later: %s", error.detail)

    def give_back(self) -> None:
        """Give back what is kept. Raises DatabaseError, then it is kept still."""
        with self._lock:
            while self._kept:
                with self._database.transaction() as session:
                    give_back(session, self._kept[0], self._rules)
                del self._kept[0]
