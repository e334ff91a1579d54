"""Whether the database serves a worker of this version: asked at the start and at every heartbeat.

A worker beside a database of another version takes nothing and says why; what it runs goes on to its end. The database
itself hands it nothing meanwhile (`mecapy_take`), so no task is harmed before the next question.
"""

import logging
from collections.abc import Callable

from mecapy_platform.db.errors import DatabaseAwayError, DatabaseError
from mecapy_platform.db.interface import INTERFACE, SERVES
from mecapy_platform.db.session import Database

log = logging.getLogger(__name__)
UNKNOWN = "The database has not yet said whether it serves this version."
NOT_SERVED = (
    f"The database does not serve workers of this version (interface {INTERFACE}): it was made for another one. "
    "Start a worker of the platform's version in its place; what runs here goes on to its end."
)
NOT_MIGRATED = (
    "The database was not brought to this version yet: run `mecapy server migrate`, and work goes on by itself."
)


class Handshake:
    """`refusal` says why this process takes nothing, None while it is served; `changed` is called when that changes."""

    def __init__(self, database: Database, changed: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._changed = changed
        self.refusal: str | None = UNKNOWN

    def ask(self) -> None:
        """Raises DatabaseAwayError when nobody answers; then what was known holds."""
        try:
            with self._database.transaction() as session:
                is_served = session.scalar(SERVES)
        except DatabaseAwayError:
            raise
        except DatabaseError as error:  # there is no such function
            self._say(NOT_MIGRATED, error.detail)
        else:
            self._say(None if is_served else NOT_SERVED)

    def _say(self, refusal: str | None, detail: str = "") -> None:
        if refusal == self.refusal:
            return
        self.refusal = refusal
        if refusal is None:
            log.info("the database serves this version")
        else:
            log.error("version_not_served: %s %s", refusal, detail)
        self._changed()
