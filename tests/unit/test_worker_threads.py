"""A worker's own threads outlive what they did not expect."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mecapy_platform.core.lanes import Lane
from mecapy_platform.settings import Settings
from mecapy_platform.worker.bell import QuietBell
from mecapy_platform.worker.capacity import Capacity
from mecapy_platform.worker.engine import Engine
from mecapy_platform.worker.heartbeat import Heartbeat
from mecapy_platform.worker.live import LiveAttempts
from mecapy_platform.worker.run_task import run_task


class Surprising:
    """A database whose every transaction fails in a way nobody thought of."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def transaction(self) -> Any:
        self.asked.release()
        raise AttributeError("no such column")


@pytest.mark.parametrize("kind", ["engine", "heartbeat"])
def test_a_thread_of_the_worker_tries_again_after_any_error(tmp_path: Path, kind: str) -> None:
    database = Surprising()
    worker = SimpleNamespace(node="n")
    context: Any = SimpleNamespace(
        database=database, settings=Settings(), work_dir=tmp_path, worker=worker, containers=None
    )
    live = LiveAttempts()
    thread: Engine | Heartbeat
    if kind == "engine":
        finisher: Any = SimpleNamespace()
        thread = Engine(
            context, Lane.LONG_RUNNING, live, run_task,
            bell=QuietBell(), finisher=finisher, clear_hint=lambda _lane: None, pass_on=lambda _lanes: None,
        )  # fmt: skip
    else:
        thread = Heartbeat(context, live, Capacity(1, 512))
    thread.start()
    assert database.asked.acquire(timeout=10)
    assert database.asked.acquire(timeout=10), "the thread died of the first error"
    if isinstance(thread, Engine):
        thread.drain(0)
    else:
        thread.end()
    thread.join(10)
    assert not thread.is_alive()
