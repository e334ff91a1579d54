"""The relay: the periodic half of release. It sweeps leases, due retries and counts, numbers events, hints work."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.db.session import Database
from mecapy_platform.services import events, partitions, sweeps
from mecapy_platform.services.release import Sender, release
from mecapy_platform.services.runs.due import DueRuns
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.schedules import firing
from mecapy_platform.services.schedules.targets import Means
from mecapy_platform.services.studies import advancing, driving
from mecapy_platform.services.studies.drawing import Drawer
from mecapy_platform.services.values import ValueStore
from mecapy_platform.settings import Settings
from mecapy_platform.storage.base import Storage

log = logging.getLogger(__name__)
NUMBER_EVERY_SECONDS = 1.0
ADVANCE_EVERY_SECONDS = 0.5
LEARN_EVERY_SECONDS = 30.0
SCHEDULES_EVERY_SECONDS = 1.0
STUDIES_EVERY_SECONDS = 1.0
DRIVE_EVERY_SECONDS = 0.25
CLEAN_EVERY_SECONDS = 300.0


@dataclass
class Periodic:
    """A duty and when it is due next, on the monotonic clock."""

    name: str
    every_seconds: float
    run: Callable[[], object]
    due_at: float = 0.0


class Relay:
    """Runs until `stop` is set. A duty that fails is said and tried again; it never stops the others."""

    def __init__(self, database: Database, storage: Storage, send: Sender, settings: Settings) -> None:
        self.stop = threading.Event()
        self._drawer = Drawer(Bounds(settings.large_body_seconds, settings.large_body_memory_mb << 20))
        values = ValueStore(storage, database.transaction, settings.row_value_bytes)
        runs = DueRuns(database, Tools(values, settings.queue_rules, takes_marks=True), send)
        self._duties = [
            Periodic("sweep", settings.sweep_seconds, lambda: sweeps.sweep(database, settings.queue_rules)),
            Periodic("release", settings.sweep_seconds, lambda: release(database, send)),
            Periodic("count", settings.sweep_seconds, lambda: sweeps.count_queued(database)),
            Periodic("advance", ADVANCE_EVERY_SECONDS, runs.advance_lost),
            Periodic("number", NUMBER_EVERY_SECONDS, lambda: events.number(database)),
            Periodic("purge", CLEAN_EVERY_SECONDS, lambda: events.purge(database, settings.queue_rules)),
            Periodic("months", CLEAN_EVERY_SECONDS, lambda: partitions.make_ahead(database)),
            Periodic("old", CLEAN_EVERY_SECONDS, lambda: partitions.drop_old_events(database, settings.queue_rules)),
            Periodic("learn", LEARN_EVERY_SECONDS, lambda: sweeps.learn_durations(database)),
            Periodic(
                "schedules", SCHEDULES_EVERY_SECONDS, lambda: self._fire_schedules(database, storage, send, settings)
            ),
            Periodic("studies", STUDIES_EVERY_SECONDS, lambda: self._advance_studies(database, send, settings)),
            Periodic("drive", DRIVE_EVERY_SECONDS, lambda: self._drive_studies(database, send, settings)),
            Periodic("firings", CLEAN_EVERY_SECONDS, lambda: firing.forget_old(database)),
            Periodic("clean", CLEAN_EVERY_SECONDS, lambda: sweeps.delete_leftovers(database, storage)),
        ]

    def run(self) -> None:
        while not self.stop.is_set():
            for duty in self._duties:
                if duty.due_at <= time.monotonic():
                    self._do(duty)
            self.stop.wait(max(0.05, min(duty.due_at for duty in self._duties) - time.monotonic()))
        self._drawer.close()

    @staticmethod
    def _fire_schedules(database: Database, storage: Storage, send: Sender, settings: Settings) -> None:
        values = ValueStore(storage, database.transaction, settings.row_value_bytes)
        if firing.fire_due(database, Means(settings.queue_rules, values)):
            release(database, send)

    @staticmethod
    def _advance_studies(database: Database, send: Sender, settings: Settings) -> None:
        """What the workers did not advance right after an end: they were killed, or something was changed over HTTP."""
        lanes = advancing.advance_due(database, settings.queue_rules)
        if lanes:
            send(sorted(lanes))

    def _drive_studies(self, database: Database, send: Sender, settings: Settings) -> None:
        lanes = driving.drive_due(database, self._drawer, settings.queue_rules)
        if lanes:
            send(sorted(lanes))

    def _do(self, duty: Periodic) -> None:
        try:
            duty.run()
        except (MecapyError, OSError) as error:
            log.warning("%s failed and is tried again: %s", duty.name, str(error).splitlines()[0])
        duty.due_at = time.monotonic() + duty.every_seconds
