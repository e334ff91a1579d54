"""Runs builds beside the tasks of a lane, one at a time per process."""

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.worker.build_package import build_next
from mecapy_platform.worker.context import WorkerContext

log = logging.getLogger(__name__)


class Builder:
    """`look` returns at once; builds go on in a thread until none waits."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._busy = threading.Lock()

    def look(self) -> None:
        if self._busy.acquire(blocking=False):
            threading.Thread(target=self._build_all, name="builder", daemon=True).start()

    def _build_all(self) -> None:
        try:
            while build_next(self._context):
                pass
        except (SQLAlchemyError, MecapyError, OSError):
            log.exception("a build ended without a report; its lease runs out and it is tried again")
        finally:
            self._busy.release()
