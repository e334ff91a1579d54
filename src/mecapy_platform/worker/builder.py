"""Runs builds beside the tasks of a lane, one at a time per process."""

import logging
import threading
from collections.abc import Callable

from mecapy_platform.worker.build_package import build_next
from mecapy_platform.worker.context import WorkerContext

log = logging.getLogger(__name__)


class Builder:
    """`look` returns at once; builds go on in a thread until none waits, or `may_build` says no."""

    def __init__(self, context: WorkerContext, may_build: Callable[[], bool]) -> None:
        self._context = context
        self._may_build = may_build
        self._busy = threading.Lock()

    def look(self) -> None:
        if self._busy.acquire(blocking=False):
            threading.Thread(target=self._build_all, name="builder", daemon=True).start()

    def _build_all(self) -> None:
        try:
            while self._may_build() and build_next(self._context):
                pass
        except Exception:
            log.exception("a build ended without a report; its lease runs out and it is tried again")
        finally:
            self._busy.release()
