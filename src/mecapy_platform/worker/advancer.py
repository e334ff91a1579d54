"""Advances the runs and studies whose tasks this process has ended, right after the commit of the end.

A thousand ends of one run that come while it is being advanced are one more advance. What is lost here, by a crash or
an error, the relay finds by its marks.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.living import LivingThread
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.runs.due import advance_one
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.studies.advancing import advance_study
from mecapy_platform.worker.context import WorkerContext

log = logging.getLogger(__name__)
Advance = Callable[[UUID], Iterable[Lane]]


class Advancer:
    """One thread. `tell` hears of the lanes in which tasks were made."""

    def __init__(self, context: WorkerContext, tell: Callable[[Sequence[Lane]], None]) -> None:
        self._context, self._tell = context, tell
        self._tools = Tools(context.values, context.settings.queue_rules, takes_marks=True)
        self._due: dict[UUID, Advance] = {}  # in the order in which they came, each once
        self._changed = threading.Condition()
        self._is_ending = False
        self._thread = LivingThread("advancer", self._work)

    def start(self) -> None:
        self._thread.start()

    def hear(self, claims: Iterable[Claim]) -> None:
        """Tasks have ended, and that is committed: the runs and studies that they belong to go on."""
        for claim in claims:
            if claim.run_id is not None:
                self.ring((claim.run_id,))
            if claim.study_id is not None:
                self.ring_with((claim.study_id,), self._advance_study)

    def ring(self, run_ids: Iterable[UUID]) -> None:
        """Tasks of these runs have ended, and that is committed."""
        self.ring_with(run_ids, self._advance_run)

    def ring_with(self, ids: Iterable[UUID], advance: Advance) -> None:
        """The same for whatever else is advanced by marks."""
        with self._changed:
            self._due.update(dict.fromkeys(ids, advance))
            if self._due:
                self._changed.notify()

    def end(self) -> None:
        """What is due is done first, as far as the database takes it."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _work(self) -> None:
        while (due := self._next()) is not None:
            self._do(*due)

    def _next(self) -> tuple[UUID, Advance] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._due or self._is_ending)
            if not self._due:
                return None
            due = next(iter(self._due))
            return due, self._due.pop(due)

    def _do(self, due: UUID, advance: Advance) -> None:
        try:
            lanes = sorted(advance(due))
        except DatabaseError as error:
            log.warning("%s is advanced later, by the relay: %s", due, error.detail)
        except Exception:  # one that cannot be advanced must not keep the others from it
            log.exception("%s could not be advanced, the relay tries again", due)
        else:
            if lanes:
                self._tell(lanes)

    def _advance_study(self, study_id: UUID) -> Iterable[Lane]:
        self._context.probe("advancing", None)
        lanes = advance_study(self._context.database, study_id, self._context.settings.queue_rules)
        self._context.probe("advanced", None)
        return lanes

    def _advance_run(self, run_id: UUID) -> Iterable[Lane]:
        self._context.probe("advancing", None)
        advanced = advance_one(self._context.database, run_id, self._tools)
        self._context.probe("advanced", None)
        self.ring(advanced.parents)
        return advanced.lanes
