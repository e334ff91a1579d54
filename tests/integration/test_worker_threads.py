"""A worker's own threads outlive what they did not expect."""

import ast
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

import mecapy_platform
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.living import LivingThread
from mecapy_platform.settings import Settings
from mecapy_platform.worker.adopter import Adopter
from mecapy_platform.worker.bell import QuietBell
from mecapy_platform.worker.capacity import Capacity
from mecapy_platform.worker.engine import Engine
from mecapy_platform.worker.heartbeat import Heartbeat
from mecapy_platform.worker.live import LiveAttempts
from mecapy_platform.worker.process import drain
from mecapy_platform.worker.run_task import resume_task, run_task

SOURCE = Path(mecapy_platform.__file__).parent
OF_ONE_DUTY = {  # threads that do one thing and end, so that nothing is lost with them but that
    "bootstrap.py": "asks the process to stop",
    "worker/builder.py": "builds what waits; the next look starts another",
    "queue/sender.py": "sends the hints that wait; the next one starts another",
    "worker/index_proxy.py": "serves one connection of a build",
    "worker/index_forward.py": "runs inside the sandbox of a build",
    "sandbox/docker/broker/images.py": "ends one build at its time limit",
    "sandbox/docker/broker/server.py": "answers one request",
    "core/living.py": "is the thread that lives",
}
NOT_ASKED: Any = None
SMALL = {"scan", "guest"}  # programs inside a sandbox, with a handful of descriptors


class Surprising:
    """A database whose every transaction fails in a way nobody thought of."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def transaction(self) -> Any:
        self.asked.release()
        raise AttributeError("no such column")


class BrokenBell(QuietBell):
    """Fails as a descriptor above a limit does."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = threading.Semaphore(0)

    def wait(self, seconds: float, *, lingers: bool, deaf_seconds: float = 0.0) -> bool:
        del seconds, lingers, deaf_seconds
        self.waited.release()
        raise ValueError("filedescriptor out of range in select()")


def context_of(database: object, tmp_path: Path) -> Any:
    durable: list[object] = []
    return SimpleNamespace(
        database=database, settings=Settings(), work_dir=tmp_path, worker=SimpleNamespace(node="n", process="n-0-1"),
        containers=None, durable_sandboxes=lambda: durable, interpreters={},
    )  # fmt: skip


def engine_of(context: Any, lane: Lane, live: LiveAttempts, bell: QuietBell | None = None, **more: Any) -> Engine:
    return Engine(
        context, lane, live, run_task, bell=bell or QuietBell(), finisher=NOT_ASKED, clear_hint=lambda _lane: None,
        pass_on=lambda _lanes: None, **more,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["engine", "heartbeat", "adopter"])
def test_a_thread_of_the_worker_tries_again_after_any_error(tmp_path: Path, kind: str) -> None:
    database = Surprising()
    context, live = context_of(database, tmp_path), LiveAttempts()
    thread: Engine | Heartbeat | Adopter
    if kind == "engine":
        thread = engine_of(context, Lane.LONG_RUNNING, live)
    elif kind == "heartbeat":
        thread = Heartbeat(context, live, Capacity(1, 512), lambda: None)
    else:
        thread = Adopter(context, [Lane.DEFAULT], live, resume_task)
    thread.start()
    assert database.asked.acquire(timeout=20)
    assert database.asked.acquire(timeout=20), "the thread died of the first error"
    if isinstance(thread, Engine):
        drain([thread], live, 0)
    else:
        thread.end()
    thread.join(10)
    assert not thread.is_alive()


def test_an_engine_outlives_its_bell(tmp_path: Path) -> None:
    bell, live = BrokenBell(), LiveAttempts()
    engine = engine_of(context_of(Surprising(), tmp_path), Lane.LONG_RUNNING, live, bell, may_claim=lambda: False)
    engine.start()
    for _ in range(2):
        assert bell.waited.acquire(timeout=20)
    drain([engine], live, 0)
    engine.join(10)
    assert not engine.is_alive()


def test_an_engine_whose_backend_does_not_hold_claims_nothing_until_it_does(tmp_path: Path) -> None:
    database, live, holds = Surprising(), LiveAttempts(), threading.Event()
    engine = engine_of(context_of(database, tmp_path), Lane.LONG_RUNNING, live, may_claim=holds.is_set)
    engine.start()
    engine.poke()
    assert engine.reserve(4) == 0, "nor does an end claim for it"
    assert not database.asked.acquire(timeout=0.3)
    holds.set()
    engine.poke()
    assert database.asked.acquire(timeout=20)
    drain([engine], live, 0)


class RunThatWaits:
    """A run that somebody has begun."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def engine_that_begins(tmp_path: Path, begin: Callable[[], Any], given: "Queue[object]") -> Engine:
    def run(_context: object, _claim: object, _live: object, begun: object) -> None:
        given.put(begun)

    return Engine(
        context_of(Surprising(), tmp_path), Lane.LONG_RUNNING, LiveAttempts(), run, bell=QuietBell(),
        finisher=NOT_ASKED, clear_hint=lambda _lane: None, pass_on=lambda _lanes: None,
        begin_at_once=lambda _context, _claim, _live: begin(),
    )  # fmt: skip


CLAIM: Any = SimpleNamespace(token="token", number=1, task_id="task")


@pytest.mark.parametrize("begins", [True, False])
def test_a_slot_follows_what_was_begun_where_it_was_claimed_or_begins_it_itself(tmp_path: Path, begins: bool) -> None:
    begun, given = RunThatWaits(), Queue[object]()
    engine = engine_that_begins(tmp_path, lambda: begun if begins else next(iter([])), given)
    engine.confirm_claims(engine.begin([CLAIM], is_recorded=False), is_committed=False)
    assert given.get(timeout=20) is (begun if begins else None)
    engine.close()


def test_what_was_begun_is_closed_when_no_slot_can_follow_it(tmp_path: Path) -> None:
    begun = RunThatWaits()
    engine = engine_that_begins(tmp_path, lambda: begun, Queue())
    engine.close()
    engine.begin([CLAIM], is_recorded=False)
    assert begun.is_closed


def test_a_drain_stops_every_lane_before_it_waits_for_any(tmp_path: Path) -> None:
    context, live, seen = context_of(Surprising(), tmp_path), LiveAttempts(), list[bool]()

    class Slow(Engine):
        def wait_idle(self, deadline: float) -> None:
            seen.append(all(engine.reserve(1) == 0 for engine in engines))
            super().wait_idle(deadline)

    engines = [
        Slow(
            context, lane, live, run_task, bell=QuietBell(), finisher=NOT_ASKED, clear_hint=lambda _lane: None,
            pass_on=lambda _lanes: None,
        )
        for lane in Lane
    ]  # fmt: skip
    drain(engines, live, 0)
    assert seen == [True, True, True]


def test_a_living_thread_begins_again_after_an_error_and_ends_when_its_work_returns() -> None:
    errors = [ValueError("first"), OSError("second")]
    done = threading.Event()

    def work() -> None:
        if errors:
            raise errors.pop()
        done.set()

    thread = LivingThread("test", work)
    thread.start()
    assert done.wait(20)
    thread.join(10)
    assert not thread.is_alive()


def test_every_loop_that_a_process_needs_is_a_living_thread() -> None:
    """A new thread is one of these, or stands above with what is lost when it ends."""
    plain = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if "guest" not in path.parts and "threading.Thread(" in path.read_text("utf-8").replace("Thread):", "Thread(")
    }
    assert plain <= set(OF_ONE_DUTY), "a thread that would end silently"


def test_no_process_of_ours_waits_by_select_which_fails_above_1023_descriptors() -> None:
    found = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if not SMALL & set(path.parts) and "select" in path.read_text("utf-8")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"select", "SelectSelector"}
        and isinstance(node.value, ast.Name) and node.value.id in {"select", "selectors"}
    ]  # fmt: skip
    assert found == []
