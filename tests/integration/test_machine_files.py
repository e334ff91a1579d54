"""Covered files and calls that do nothing must not break what real libraries do with them, cold or warm."""

import os
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox_contract import Bench, bench_for, follow
from mecapy_platform.sandbox.base import Sandbox
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from support.backends.warm_alone import warm_alone


@pytest.fixture(scope="module", params=["cold", "warm"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with ExitStack() as stack:
        sandbox: Sandbox
        if request.param == "warm":
            sandbox = stack.enter_context(warm_alone("native"))
        else:
            sandbox = stack.enter_context(closing(BubblewrapSandbox()))
        yield stack.enter_context(bench_for(sandbox))


def call(bench: Bench, function: str) -> Any:
    site = Path(sysconfig.get_paths()["purelib"])
    spec = bench.spec(function, site_packages=site)
    with bench.sandbox.start(replace(spec, handler=f"machine:{function}")) as run:
        return follow(run).result


def test_libraries_are_told_of_memory_and_processors(bench: Bench) -> None:
    told = call(bench, "asks")
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert told["total"] == told["available"] == told["by_call"] == physical
    assert told["processors"] == len(os.sched_getaffinity(0))
    assert (told["percent"], told["swap"]) == (0, 0)
    assert told["own"] > 1 << 20


def test_what_is_written_durably_is_written(bench: Bench) -> None:
    assert call(bench, "writes_durably") == {"parts": 2, "mapped": "beam"}
