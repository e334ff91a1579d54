"""Which backend a worker's tasks get, and what a broken one costs."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mecapy_platform.core.lanes import Lane
from mecapy_platform.services.claims import Claim, Worker
from mecapy_platform.settings import Settings
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.main import refusal_of, without_broken_images
from support.fakes import FakeSandbox as Backend
from support.fakes import Misbehaviour


def context_with(usual: Backend, containers: Backend | None, **lanes: Backend) -> WorkerContext:
    none: Any = None
    made = dict.fromkeys(WorkerContext.__dataclass_fields__, none)
    made |= {
        "settings": Settings(),
        "sandbox": usual,
        "lane_sandboxes": lanes,
        "containers": containers,
        "images": none,
    }
    return WorkerContext(**{**made, "worker": Worker("n", "n-1", "fake"), "work_dir": Path("/nonexistent")})


def claim(lane: Lane, entrypoint: tuple[str, ...] | None = None) -> Claim:
    values: dict[str, Any] = dict.fromkeys(Claim.__dataclass_fields__)
    return replace(Claim(**values), task_id=uuid4(), lane=lane, entrypoint=entrypoint)


def test_each_lane_has_its_backend_and_images_have_theirs() -> None:
    default, long, containers = Backend(), Backend(), Backend()
    context = context_with(default, containers, long_running=long)
    assert context.sandbox_for(claim(Lane.DEFAULT)) is default
    assert context.sandbox_for(claim(Lane.LONG_RUNNING)) is long
    assert context.sandbox_for(claim(Lane.LONG_RUNNING, ("/solver",))) is containers


def test_a_broken_backend_of_images_alone_costs_the_images_alone() -> None:
    default = Backend()
    context = without_broken_images(context_with(default, Backend(Misbehaviour.UNSAFE)))
    assert context.containers is None
    assert refusal_of(context) is None


@pytest.mark.parametrize("lane", ["default", "long_running"])
def test_a_broken_backend_of_a_lane_stops_the_worker(lane: str) -> None:
    broken = Backend(Misbehaviour.UNSAFE)
    context = without_broken_images(context_with(Backend(), broken, **{lane: broken}))
    assert context.containers is broken
    assert "does not hold" in str(refusal_of(context))


def test_a_backend_that_holds_is_kept() -> None:
    containers = Backend()
    assert without_broken_images(context_with(Backend(), containers)).containers is containers
