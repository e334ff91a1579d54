"""Advances runs that are due, for the platform's processes: each in its own transaction, hints after the commit."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db import runs as statements
from mecapy_platform.db.session import Database
from mecapy_platform.services.runs.advance import Advanced, advance
from mecapy_platform.services.runs.tools import Tools

log = logging.getLogger(__name__)
LOST_AFTER_SECONDS = 1.0  # what is due for longer was left by a process that died, or could not do it
AT_ONCE = 50
PAUSE_MAX_SECONDS = 60.0


def advance_one(database: Database, run_id: UUID, tools: Tools) -> Advanced:
    """What was done is committed when it returns."""
    with database.transaction() as session:
        return advance(session, run_id, tools)


@dataclass
class DueRuns:
    """What the relay advances. A run that cannot be advanced is left alone for a while, so that it delays no other."""

    database: Database
    tools: Tools
    hint: Callable[[Iterable[Lane]], None]
    _pauses: dict[UUID, tuple[float, float]] = field(default_factory=dict)

    def advance_lost(self) -> int:
        """Runs whose marks have stayed, and runs for which a moment has come. Returns how many were advanced."""
        now = time.monotonic()
        paused = [run_id for run_id, (until, _) in self._pauses.items() if until > now]  # these take nobody's place
        wanted = {"most": AT_ONCE, "paused": paused}
        with self.database.transaction() as session:
            marked = session.scalars(statements.DUE_RUNS, {**wanted, "older": LOST_AFTER_SECONDS}).all()
            awake = session.scalars(statements.AWAKE_RUNS, wanted).all()
        return sum(self._advance(run_id) for run_id in dict.fromkeys([*marked, *awake]))

    def _advance(self, run_id: UUID) -> bool:
        until, pause = self._pauses.get(run_id, (0.0, 0.5))
        if until > time.monotonic():
            return False
        due, lanes = [run_id], set[Lane]()
        try:
            while due:
                advanced = advance_one(self.database, due.pop(), self.tools)
                due += advanced.parents
                lanes |= advanced.lanes
            self._pauses.pop(run_id, None)
        except Exception:  # one run that cannot be advanced must not keep the others from it
            log.exception("run %s could not be advanced and is tried again", run_id)
            self._pauses[run_id] = (time.monotonic() + pause, min(PAUSE_MAX_SECONDS, 2 * pause))
            return False
        finally:
            if lanes:
                self.hint(sorted(lanes))
        return True
