"""The contract of a sandbox, each call in a warm slot; and what a warm sandbox alone must show."""

import select
import socket
import sysconfig
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration.sandbox_contract import (
    Bench,
    ConfinementContract,
    SandboxContract,
    bench_for,
    follow,
    wait_until,
)
from support.backends.warm_alone import KINDS, WarmAlone, warm_alone
from support.backends.warm_runs import is_warm


@pytest.fixture(scope="module", params=KINDS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[WarmAlone]:
    with warm_alone(request.param) as made:
        yield made


@pytest.fixture
def bench(sandbox: WarmAlone) -> Iterator[Bench]:
    with bench_for(sandbox) as made:
        yield made


class TestWarm(SandboxContract, ConfinementContract):
    """Every case of the contract, with the small library and with its fallback."""

    def test_self_test_holds_for_warm_calls_too(self, bench: Bench, request: pytest.FixtureRequest) -> None:
        found = bench.sandbox.self_test()
        slower = "warm: steps in C"
        assert [check for check in found.checks if not check.holds and check.name != slower] == []
        is_native = "fallback" not in request.node.name
        assert {(check.holds, bool(check.detail)) for check in found.checks if check.name == slower} == {
            (is_native, not is_native)
        }
        assert {"warm: no capabilities", "warm: memory limit", "warm: no network"} <= {
            check.name for check in found.checks
        }
        held = bench.sandbox.inner.warm.held()  # type: ignore[attr-defined]
        assert "self-test" not in {key.organization for key in held}, "its own are thrown away, and no others"

    def test_the_largest_inputs_that_come_warm_take_nothing_of_the_disk_limit(self, bench: Bench) -> None:
        files = {f"file{number}.bin": b"x" * (80 << 10) for number in range(50)}
        outcome = bench.run("weighs_inputs", {"text": "y" * 90_000}, files=files, disk_bytes=1 << 20)
        assert outcome.result == {"bytes": 50 * (80 << 10), "text": 90_000, "written": 900 << 10}

    def test_a_vetted_library_is_loaded_ahead_with_a_random_state_and_threads_of_each_call(self, bench: Bench) -> None:
        site = Path(sysconfig.get_paths()["purelib"])
        spec = bench.spec("uses_loaded_numpy", {"size": 300}, memory_mb=512)
        assert spec.environment is not None
        environment = replace(spec.environment, site_packages=site, vetted=site, libraries=("numpy",))
        found = []
        for cpu in (1, 1, 2):
            with bench.sandbox.start(
                replace(spec, environment=environment, limits=replace(spec.limits, cpu=cpu))
            ) as run:
                found.append(follow(run).result)
        assert [item["loaded_ahead"] for item in found] == [True] * 3
        assert [item["trace"] for item in found] == [300.0 * 300.0] * 3
        assert len({item["random"] for item in found}) == 3
        assert [item["threads"] for item in found] == [1, 1, 2]

    def test_a_function_in_demand_is_loaded_before_its_call(self, bench: Bench) -> None:
        """The module is imported by the worker that waits; the import still counts for one call only."""
        pool = bench.sandbox.inner.warm  # type: ignore[attr-defined]

        def is_loaded() -> bool:
            waiting = [slot.ahead for zygote in pool.held().values() for slot in tuple(zygote.free)]
            return any(
                item is not None and (item.handler, item.package) == ("cases:double", str(bench.package))
                for item in waiting
            )

        for value in range(4):
            assert bench.run("double", {"value": value}).result == {"result": 2 * value}
        wait_until(is_loaded)
        assert is_loaded()
        assert bench.run("double", {"value": 21}).result == {"result": 42}
        assert bench.run("structures").result["level"] == "high"

    def test_a_crash_while_loading_ahead_costs_nothing_but_the_worker(self, bench: Bench) -> None:
        for _ in range(4):
            with bench.sandbox.start(replace(bench.spec("double", {"value": 4}), handler="cases:double")) as run:
                assert follow(run).result == {"result": 8}
        broken = bench.folder / "package" / "ends.py"
        broken.write_text(
            "import os\n\nif os.path.exists('/workspace/in/data.json'):\n    os._exit(9)\n\n\ndef never():\n    return "
            "1\n"
        )
        pool = bench.sandbox.inner.warm  # type: ignore[attr-defined]

        def is_served_warm() -> bool:
            spec = replace(bench.spec("double", {}), handler="ends:never", organization="first", is_warm=True)
            with bench.sandbox.inner.start(spec) as run:  # type: ignore[attr-defined]
                outcome = follow(run)
            assert (outcome.ended.exit_code, outcome.collected.result) == (9, None)
            return is_warm(run)

        def has_died_ahead() -> bool:
            free = [slot for zygote in pool.held().values() for slot in tuple(zygote.free)]
            waiting = [
                slot.ends.orders
                for slot in free
                if slot.ahead is not None and slot.ahead.handler == "ends:never" and slot.ends
            ]
            return any(
                select.select([orders], [], [], 0)[0] and orders.recv(1, socket.MSG_PEEK) == b"" for orders in waiting
            )

        assert is_served_warm()
        assert is_served_warm()
        wait_until(has_died_ahead)
        assert not is_served_warm()  # finds its worker dead; from then on nothing of this function is loaded ahead
        assert [is_served_warm() for _ in range(4)] == [True] * 4
        assert bench.run("double", {"value": 5}).result == {"result": 10}

    def test_what_waits_loaded_keeps_within_its_memory(self, bench: Bench) -> None:
        """No claim has reserved it: a function that needs more than is set aside is loaded when it is called."""
        pool = bench.sandbox.inner.warm  # type: ignore[attr-defined]
        for value in range(4):
            assert bench.run("double", {"value": value}, memory_mb=2048).result == {"result": 2 * value}
        waiter = threading.Event()
        for _ in range(20):
            waiter.wait(0.02)
            waiting = [
                slot.ahead for zygote in pool.held().values() for slot in tuple(zygote.free) if slot.ahead is not None
            ]
            assert sum(item.limits.memory_mb for item in waiting) <= 1024
