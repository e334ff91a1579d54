"""What the relay does for studies: advance what workers did not, ask driven ones. One that fails delays no other."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.db import studies as statements
from mecapy_platform.db.errors import DatabaseAwayError
from mecapy_platform.db.session import Database
from mecapy_platform.services.pauses import Pauses
from mecapy_platform.services.studies.advancing import NONE, Lanes, advance_study
from mecapy_platform.services.studies.drawing import Drawer
from mecapy_platform.services.studies.driving import drive

log = logging.getLogger(__name__)
Hint = Callable[[Iterable[Lane]], None]


@dataclass
class DueStudies:
    """Studies of which something ended that nobody has looked at."""

    database: Database
    rules: QueueRules
    hint: Hint
    _pauses: Pauses = field(default_factory=Pauses)

    def advance_lost(self) -> None:
        with self.database.transaction() as session:
            due = session.scalars(statements.DUE).all()
        _each(due, self._pauses, self.hint, lambda item: advance_study(self.database, item, self.rules, waits=False))


@dataclass
class DrivenStudies:
    """Studies whose points have all ended, and whose next ones follow from them."""

    database: Database
    drawer: Drawer
    rules: QueueRules
    hint: Hint
    _pauses: Pauses = field(default_factory=Pauses)

    def drive(self) -> None:
        with self.database.transaction() as session:
            due = session.scalars(statements.TO_DRIVE).all()
        _each(due, self._pauses, self.hint, lambda item: drive(self.database, item, self.drawer, self.rules))


def _each(due: Iterable[UUID], pauses: Pauses, hint: Hint, do: Callable[[UUID], Lanes]) -> None:
    for item in due:
        if pauses.holds(item):
            continue
        lanes = NONE
        try:
            lanes = do(item)
        except DatabaseAwayError:
            raise
        except Exception:  # one that fails must not keep the others from it
            log.exception("study %s failed and is tried again", item)
            pauses.failed(item)
        else:
            pauses.went_well(item)
        if lanes:
            hint(sorted(lanes))
