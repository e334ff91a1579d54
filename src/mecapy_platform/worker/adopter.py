"""Goes on with runs that outlived their worker, and removes what is left of those that no longer count.

One thread per worker process.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.living import LivingThread
from mecapy_platform.db.errors import DatabaseError
from mecapy_platform.sandbox.base import DurableSandbox, Kept
from mecapy_platform.services import adopt
from mecapy_platform.services.adopt import Adopted
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.live import LiveAttempt, LiveAttempts
from mecapy_platform.worker.materials import kept_directory
from mecapy_platform.worker.report import Report, report_alone

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
MOST = 64  # runs followed at once

Resume = Callable[[WorkerContext, Adopted, LiveAttempt], Report | None]


class Adopter(LivingThread):
    """Every second: what has ended is removed. Every `heartbeat_seconds`: runs whose worker is gone are taken over."""

    def __init__(self, context: WorkerContext, lanes: Collection[Lane], live: LiveAttempts, resume: Resume) -> None:
        super().__init__("adopter", self._look_on)
        self._context = context
        self._lanes = lanes
        self._live = live
        self._resume = resume
        self._pool = ThreadPoolExecutor(max_workers=MOST, thread_name_prefix="adopted")
        self._ended = threading.Event()

    def _look_on(self) -> None:
        adopt_at = 0.0
        while not self._ended.is_set():
            try:
                if time.monotonic() >= adopt_at:
                    self.take_over()
                    self._remove_folders()
                    adopt_at = time.monotonic() + self._context.settings.heartbeat_seconds
                for sandbox in self._context.durable_sandboxes():
                    self._clean(sandbox)
            except (DatabaseError, SandboxError) as error:
                log.warning("looking after durable runs failed and is tried again: %s", str(error).splitlines()[0])
            self._ended.wait(LOOK_SECONDS)

    def take_over(self) -> int:
        """Go on with each run that this node's dead workers left. Returns how many."""
        context = self._context
        with context.database.transaction() as session:
            dead = [name for name in adopt.other_workers(session, context.worker) if is_dead(name)]
            found = adopt.take_over(session, context.worker, self._lanes, dead, context.settings.queue_rules)
        for adopted in found:
            log.info(
                "going on with attempt %s of task %s in %s",
                adopted.claim.number,
                adopted.claim.task_id,
                adopted.reference[:12],
            )
            live = self._live.add(adopted.claim)
            self._pool.submit(self._follow, adopted, live)
        return len(found)

    def end(self) -> None:
        """Runs have been let go or have ended before."""
        self._ended.set()
        self.hurry()
        self._pool.shutdown(wait=True)

    def _follow(self, adopted: Adopted, live: LiveAttempt) -> None:
        try:
            self._context.probe("adopted", adopted.claim)
            report = self._resume(self._context, adopted, live)
            if report is not None:
                report_alone(self._context, report)
        except Exception:
            log.exception("task %s ended without a report; its lease will run out", adopted.claim.task_id)
        finally:
            self._live.remove(adopted.claim.token)

    def _clean(self, sandbox: DurableSandbox) -> None:
        """Remove containers of attempts that have ended, wherever they ended, and strays long over their time."""
        kept = sandbox.kept()
        if not kept:
            return
        alive = self._alive(kept)
        for item in kept:
            if (item.is_attempt and (item.task_id, item.attempt) not in alive) or (
                not item.is_attempt and item.is_overdue
            ):
                with suppress(SandboxError):
                    sandbox.remove(item.reference)

    def _alive(self, kept: Sequence[Kept]) -> set[tuple[str, int]]:
        with self._context.database.transaction() as session:
            found = adopt.still_count(session, {UUID(item.task_id) for item in kept if item.is_attempt})
        return {(str(task_id), number) for task_id, number in found}

    def _remove_folders(self) -> None:
        """Inputs of attempts that have ended; their containers are gone or go now."""
        home = kept_directory(self._context)
        names = [path.name for path in home.iterdir()] if home.is_dir() else []
        tasks = {name: UUID(name.rpartition(".")[0]) for name in names if _is_attempt(name)}
        if not tasks:
            return
        with self._context.database.transaction() as session:
            alive = {f"{task_id}.{number}" for task_id, number in adopt.still_count(session, set(tasks.values()))}
        for name in tasks.keys() - alive:
            shutil.rmtree(home / name, ignore_errors=True)


def _is_attempt(name: str) -> bool:
    try:
        UUID(name.rpartition(".")[0])
    except ValueError:
        return False
    return True


def process_name(node: str) -> str:
    """A worker process as attempts name it: the node, its PID namespace, its pid there."""
    return f"{node}-{_namespace()}-{os.getpid()}"


def is_dead(name: str) -> bool:
    """That a worker of this node is gone. Only said where its pid means the same to us; else its lease decides."""
    _, namespace, pid = name.rsplit("-", 2) if name.count("-") > 1 else ("", "", "")
    return namespace == _namespace() and pid.isdigit() and not Path("/proc", pid).exists()


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "0"
