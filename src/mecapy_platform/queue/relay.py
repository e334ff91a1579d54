"""The relay: the periodic half of release. It sweeps leases, due retries and counts, numbers events, hints work."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mecapy_platform.bounded.calls import Bounds
from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.living import LivingThread
from mecapy_platform.db.session import Database
from mecapy_platform.services import events, partitions, sweeps
from mecapy_platform.services.release import Sender, release
from mecapy_platform.services.runs.due import DueRuns
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.schedules import firing
from mecapy_platform.services.schedules.firing import DueSchedules
from mecapy_platform.services.schedules.targets import Means
from mecapy_platform.services.studies.drawing import Drawer
from mecapy_platform.services.studies.due import DrivenStudies, DueStudies
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
JOIN_SECONDS = 5.0  # what is on its way may be repeated, and is safe to be cut off


@dataclass
class Periodic:
    """A duty and when it is due next, on the monotonic clock."""

    name: str
    every_seconds: float
    run: Callable[[], object]
    due_at: float = 0.0


class Relay:
    """Runs until `stop` is set. A duty that fails is said and tried again; it never stops the others.

    What works for tenants has a thread for each kind, so that neither one study nor many keep leases from being swept.
    """

    def __init__(self, database: Database, storage: Storage, send: Sender, settings: Settings) -> None:
        self.stop = threading.Event()
        rules = settings.queue_rules
        self._drawer = Drawer(Bounds(settings.large_body_seconds, settings.large_body_memory_mb << 20))
        values = ValueStore(storage, database.transaction, settings.row_value_bytes)
        runs = DueRuns(database, Tools(values, rules, takes_marks=True), send)
        schedules = DueSchedules(database, Means(rules, values))
        studies, driven = DueStudies(database, rules, send), DrivenStudies(database, self._drawer, rules, send)

        def fire() -> None:
            if schedules.fire():
                release(database, send)

        self._own = [
            Periodic("sweep", settings.sweep_seconds, lambda: sweeps.sweep(database, rules)),
            Periodic("release", settings.sweep_seconds, lambda: release(database, send)),
            Periodic("count", settings.sweep_seconds, lambda: sweeps.count_queued(database)),
            Periodic("number", NUMBER_EVERY_SECONDS, lambda: events.number(database)),
            Periodic("purge", CLEAN_EVERY_SECONDS, lambda: events.purge(database, rules)),
            Periodic("months", CLEAN_EVERY_SECONDS, lambda: partitions.make_ahead(database)),
            Periodic("old", CLEAN_EVERY_SECONDS, lambda: partitions.drop_old_events(database, rules)),
            Periodic("learn", LEARN_EVERY_SECONDS, lambda: sweeps.learn_durations(database)),
            Periodic("firings", CLEAN_EVERY_SECONDS, lambda: firing.forget_old(database)),
            Periodic("clean", CLEAN_EVERY_SECONDS, lambda: sweeps.delete_leftovers(database, storage)),
        ]
        self._for_tenants = [
            Periodic("advance", ADVANCE_EVERY_SECONDS, runs.advance_lost),
            Periodic("schedules", SCHEDULES_EVERY_SECONDS, fire),
            Periodic("studies", STUDIES_EVERY_SECONDS, studies.advance_lost),
            Periodic("drive", DRIVE_EVERY_SECONDS, driven.drive),
        ]

    def run(self) -> None:
        threads = [LivingThread(f"relay-{duty.name}", partial(self._repeat, [duty])) for duty in self._for_tenants]
        for thread in threads:
            thread.start()
        self._repeat(self._own)
        for thread in threads:
            thread.hurry()
            thread.join(timeout=JOIN_SECONDS)
        self._drawer.close()

    def _repeat(self, duties: Sequence[Periodic]) -> None:
        while not self.stop.is_set():
            for duty in duties:
                if duty.due_at <= time.monotonic():
                    self._do(duty)
            self.stop.wait(max(0.05, min(duty.due_at for duty in duties) - time.monotonic()))

    def _do(self, duty: Periodic) -> None:
        try:
            duty.run()
        except (MecapyError, OSError) as error:
            log.warning("%s failed and is tried again: %s", duty.name, str(error).splitlines()[0])
        except Exception:  # a mistake of ours in one duty must not end the process that does them all
            log.exception("%s failed and is tried again", duty.name)
        duty.due_at = time.monotonic() + duty.every_seconds
