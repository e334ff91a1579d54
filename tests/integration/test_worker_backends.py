"""Which backend a worker's tasks get, and what one that does not hold costs: until it holds, and no longer."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mecapy_platform.core.errors import OutageError, SandboxError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.sandbox.base import SelfTest
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.settings import Settings
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.process import refusal_of
from mecapy_platform.worker.readiness import Readiness
from support.fakes import FakeSandbox as Backend
from support.fakes import Misbehaviour

AWAY = OutageError("spawner_unreachable", "The process that starts sandboxes cannot be reached.")


class Told:
    """Waits for what a backend's watch says of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, holds: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(holds, 20)


class Counting(Backend):
    """Counts its self-tests; the first `failing` of them do not hold, or raise what is given."""

    def __init__(self, *failing: Exception | None) -> None:
        super().__init__()
        self._failing = list(failing)
        self.tests = 0

    def self_test(self) -> SelfTest:
        self.tests += 1
        if not self._failing:
            return super().self_test()
        error = self._failing.pop(0)
        if error is not None:
            raise error
        return Backend(Misbehaviour.UNSAFE).self_test()


def context_with(usual: Backend, containers: Backend | None, **lanes: Backend) -> WorkerContext:
    none: Any = None
    made = dict.fromkeys(WorkerContext.__dataclass_fields__, none)
    made |= {"settings": Settings(), "sandbox": usual, "lane_sandboxes": lanes, "containers": containers}
    return WorkerContext(**{**made, "worker": Worker("n", "n-1", "fake"), "work_dir": Path("/nonexistent")})


def claim(lane: Lane, entrypoint: tuple[str, ...] | None = None) -> Claim:
    values: dict[str, Any] = dict.fromkeys(Claim.__dataclass_fields__)
    return replace(Claim(**values), task_id=uuid4(), lane=lane, entrypoint=entrypoint)


@contextmanager
def watched(*sandboxes: Backend) -> Iterator[tuple[Readiness, Told]]:
    told = Told()
    readiness = Readiness(sandboxes, "n", told)
    readiness.start()
    try:
        yield readiness, told
    finally:
        readiness.end()


def test_each_lane_has_its_backend_and_images_have_theirs() -> None:
    default, long, containers = Backend(), Backend(), Backend()
    context = context_with(default, containers, long_running=long)
    assert context.sandbox_for(claim(Lane.DEFAULT)) is default
    assert context.sandbox_for(claim(Lane.LONG_RUNNING)) is long
    assert context.sandbox_for(claim(Lane.LONG_RUNNING, ("/solver",))) is containers


def test_nothing_runs_before_the_first_test_and_everything_after_it() -> None:
    backend = Backend()
    assert "not been tested" in str(Readiness([backend], "n", Told()).refusal_of(backend))
    with watched(backend) as (readiness, told):
        assert told.wait_for(lambda: readiness.refusal_of(backend) is None)


@pytest.mark.parametrize("failing", [(None, None), (AWAY, None), (ConnectionResetError("gone"),), (ValueError("odd"),)])
def test_no_check_at_start_decides_for_ever(failing: Sequence[Exception | None]) -> None:
    """However the first tests fail, also in a way nobody thought of, later ones are made and their word counts."""
    backend = Counting(*failing)
    with watched(backend) as (readiness, told):
        assert told.wait_for(lambda: readiness.refusal_of(backend) is None)
    assert backend.tests == len(failing) + 1


def test_an_outage_stops_a_backend_at_once_until_a_test_holds_again() -> None:
    backend = Backend()
    with watched(backend) as (readiness, told):
        assert told.wait_for(lambda: readiness.refusal_of(backend) is None)
        backend.misbehave = Misbehaviour.UNSAFE
        readiness.doubt(backend, AWAY)
        assert readiness.refusal_of(backend) is not None, "it is asked for nothing more from the first failure on"
        assert told.wait_for(lambda: "does not hold" in str(readiness.refusal_of(backend)))
        backend.misbehave = None
        assert told.wait_for(lambda: readiness.refusal_of(backend) is None)


def test_a_start_that_fails_by_itself_stops_nobody_else() -> None:
    backend = Backend()
    with watched(backend) as (readiness, told):
        assert told.wait_for(lambda: readiness.refusal_of(backend) is None)
        readiness.doubt(backend, SandboxError("sandbox_not_started", "Its image has no such program."))
        assert readiness.refusal_of(backend) is None


def test_a_broken_backend_of_images_costs_the_images_alone() -> None:
    default, containers = Backend(), Backend(Misbehaviour.UNSAFE)
    context = context_with(default, containers)
    with watched(default, containers) as (readiness, told):
        assert told.wait_for(lambda: "does not hold" in str(readiness.refusal_of(containers)))
        assert told.wait_for(lambda: refusal_of(context, [Lane.DEFAULT], readiness) is None)


def test_a_broken_backend_of_a_lane_costs_that_lane() -> None:
    default, broken = Backend(), Backend(Misbehaviour.UNSAFE)
    context = context_with(default, None, long_running=broken)
    with watched(default, broken) as (readiness, told):
        assert told.wait_for(lambda: "does not hold" in str(refusal_of(context, [Lane.LONG_RUNNING], readiness)))
        assert told.wait_for(lambda: refusal_of(context, [Lane.DEFAULT], readiness) is None)
