"""`reuse`: several calls of one function version in one process, one after another."""

import select
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox_contract import PACKAGE, Bench, Outcome, bench_for, follow, wait_until
from mecapy_platform.sandbox.base import EndReason, StopReason
from support.backends.warm_alone import WarmAlone, warm_alone
from support.backends.warm_runs import is_warm, slot_of

CALLS = 5


@pytest.fixture(scope="module", params=["native"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[WarmAlone]:
    with warm_alone(request.param) as made:
        yield made


@pytest.fixture
def bench(sandbox: WarmAlone) -> Iterator[Bench]:
    """A package of its own, so that no test meets a worker of another."""
    with bench_for(sandbox) as made:
        yield made


def call(bench: Bench, function: str, inputs: Mapping[str, object] | None = None, **options: Any) -> Outcome:
    changes = {name: options.pop(name) for name in ("version", "reuse") if name in options}
    spec = replace(bench.spec(function, inputs, **options), handler=f"reused:{function}", package=bench.package)
    with bench.sandbox.start(replace(spec, **{"version": "first", "reuse": CALLS, **changes})) as run:
        assert is_warm(run)
        return follow(run)


def test_calls_follow_each_other_in_one_process_up_to_their_number(bench: Bench) -> None:
    told = [call(bench, "count", {"value": value}).result for value in range(CALLS + 2)]
    assert [item["value"] for item in told] == list(range(CALLS + 2))
    numbers: dict[int, list[int]] = {}
    for item in told:
        numbers.setdefault(item["space"], []).append(item["number"])
    assert numbers.pop(told[0]["space"]) == [1, 2, 3, 4, 5]
    for served in numbers.values():  # another one may be loaded by then: which of both serves is free
        assert served == list(range(1, len(served) + 1))


@pytest.mark.parametrize("reuse", [0, 1])
def test_without_reuse_each_call_has_its_own_process(bench: Bench, reuse: int) -> None:
    told = [call(bench, "count", reuse=reuse).result for _ in range(4)]
    assert [item["number"] for item in told] == [1] * 4


def test_each_call_has_its_own_log_time_and_peak(bench: Bench) -> None:
    said = [call(bench, "count", {"value": value}).text("stdout") for value in range(3)]
    assert said == [f"call {value}\n" for value in range(3)]
    large = call(bench, "takes_memory", {"megabytes": 100}, memory_mb=256)
    small = call(bench, "takes_memory", {"megabytes": 1}, memory_mb=256)
    assert (large.result["number"], small.result["number"]) == (1, 2)
    peaks = [item.ended.usage.peak_memory_mb or 0 for item in (large, small)]
    assert peaks[0] > 100 > peaks[1] > 1
    long, short = (call(bench, "works", {"seconds": seconds}) for seconds in (0.4, 0.01))
    assert (long.result["number"], short.result["number"]) == (1, 2)
    cpu = [item.ended.usage.cpu_seconds or 0 for item in (long, short)]
    assert cpu[0] >= 0.4
    assert 0 < cpu[1] < 0.3


@pytest.mark.parametrize("what", ["files", "settings", "descriptors"])
def test_what_a_call_left_is_put_back_before_the_next(bench: Bench, what: str) -> None:
    fresh = self_seen(bench, [("finds", {})])[-1]
    found = self_seen(bench, [("leaves", {"what": what}), ("finds", {})])[-1]
    assert found.pop("number") >= 2, "the same process"
    assert fresh.pop("number") == 1
    assert fresh["left"] == []
    assert found == fresh


def self_seen(bench: Bench, calls: list[tuple[str, dict[str, object]]]) -> list[dict[str, Any]]:
    """Both functions by one handler, whose process they share."""
    (bench.package / "either.py").write_text(
        "import reused\n\n\ndef either(name, **more):\n    return getattr(reused, name)(**more)\n"
    )
    found = []
    for name, more in calls:
        spec = replace(bench.spec("either", {"name": name, **more}), handler="either:either", package=bench.package)
        version = "-".join(word for word, _more in calls)
        with bench.sandbox.start(replace(spec, version=version, reuse=CALLS)) as run:
            outcome = follow(run).result
            outcome.pop("inputs", None)
            found.append(outcome)
    return found


@pytest.mark.parametrize(
    "what",
    ["output", "thread", "process", "daemon", "network", "closed streams", "niceness", "large result"],
)
def test_a_call_after_which_something_is_left_is_the_last_of_its_process(bench: Bench, what: str) -> None:
    first = call(bench, "leaves", {"what": what})
    second = call(bench, "leaves", {"what": "nothing"})
    assert first.ended.exit_code == 0
    assert (first.result["number"], second.result["number"]) == (1, 1)
    assert first.contents == ({"kept.txt": b"kept"} if what == "output" else {})


@pytest.mark.parametrize(("what", "code"), [("error", "user_error"), ("exit", "exit_code")])
def test_a_call_that_fails_is_the_last_of_its_process(bench: Bench, what: str, code: str) -> None:
    assert call(bench, "leaves", {"what": "nothing"}).result["number"] == 1
    failed = call(bench, "leaves", {"what": what})
    assert failed.collected.error is not None
    assert failed.collected.error["code"] == code
    assert call(bench, "leaves", {"what": "nothing"}).result["number"] == 1


def test_a_limit_or_a_stop_ends_the_process(bench: Bench) -> None:
    assert call(bench, "works", {"seconds": 0.01}, timeout_seconds=1).result["number"] == 1
    assert call(bench, "works", {"seconds": 60}, timeout_seconds=1).ended.reason is EndReason.TIMEOUT
    assert call(bench, "works", {"seconds": 0.01}, timeout_seconds=1).result["number"] == 1
    spec = replace(bench.spec("works", {"seconds": 60}, timeout_seconds=1), handler="reused:works", version="first")
    with bench.sandbox.start(replace(spec, package=bench.package, reuse=CALLS)) as run:
        run.stop(StopReason.CANCELLED)
        assert follow(run).ended.reason is EndReason.STOPPED
    assert call(bench, "works", {"seconds": 0.01}, timeout_seconds=1).result["number"] == 1
    memory = call(bench, "takes_memory", {"megabytes": 600})
    assert memory.ended.reason is EndReason.OUT_OF_MEMORY
    assert call(bench, "takes_memory", {"megabytes": 1}).result["number"] == 1


def test_a_call_begins_at_once_where_a_worker_waits_for_it_and_nowhere_else(bench: Bench, sandbox: WarmAlone) -> None:
    spec = replace(
        bench.spec("count"), handler="reused:count", package=bench.package, version="first", reuse=CALLS,
        inputs_text='{"value": 7}', organization="first", is_warm=True,
    )  # fmt: skip
    assert sandbox.inner.start_at_once(spec) is None, "nothing has loaded it yet"
    assert call(bench, "count").result["number"] == 1
    for other in (
        {"version": "second"},
        {"organization": "second"},
        {"handler": "reused:finds"},
        {"inputs_text": None},
    ):
        assert sandbox.inner.start_at_once(replace(spec, **other)) is None
    for number in (2, 3):
        run = sandbox.inner.start_at_once(spec)
        assert run is not None
        assert sandbox.inner.start_at_once(spec) is None, "that worker is at work"
        with run:
            told = follow(run).result
        assert (told["number"], told["value"]) == (number, 7)


def test_versions_and_organizations_share_no_process(bench: Bench, sandbox: WarmAlone) -> None:
    assert [call(bench, "count").result["number"] for _ in range(2)] == [1, 2]
    assert call(bench, "count", version="second").result["number"] == 1
    spec = replace(bench.spec("count"), handler="reused:count", package=bench.package, version="first", reuse=CALLS)
    other = replace(spec, organization="second", is_warm=True)
    assert sandbox.inner.warm is not None
    sandbox.inner.warm.make_ready(other, ())
    with sandbox.inner.start(other) as run:
        assert is_warm(run)
        assert follow(run).result["number"] == 1


def test_a_process_that_is_reused_is_not_pushed_out_by_workers_that_load_ahead(
    bench: Bench, sandbox: WarmAlone
) -> None:
    """Three functions of 512 MiB where 1024 may wait: what is loaded ahead gives way, for it is made again."""
    pool = sandbox.inner.warm
    assert pool is not None
    numbers = []
    for _ in range(CALLS):
        numbers.append(call(bench, "count", memory_mb=512).result["number"])
        for function in ("works", "takes_memory"):
            name = "seconds" if function == "works" else "megabytes"
            for _again in range(2):
                assert call(bench, function, {name: 0}, memory_mb=512, reuse=0).result["number"] == 1
        wait_until(lambda: all(zygote.busy == 0 for zygote in pool.held().values()))
    assert numbers == [1, 2, 3, 4, 5]


def test_without_the_small_library_each_call_has_its_own_process(tmp_path: Path) -> None:
    with warm_alone("fallback") as sandbox:
        folder = Path(tempfile.mkdtemp())
        shutil.copytree(PACKAGE, folder / "package", ignore=shutil.ignore_patterns("__pycache__"))
        bench = Bench(sandbox, folder, Path(sys.executable).resolve())
        assert [call(bench, "count").result["number"] for _ in range(3)] == [1, 1, 1]
        shutil.rmtree(folder)


def test_a_process_that_works_on_when_its_call_is_over_is_ended(bench: Bench) -> None:
    spec = replace(bench.spec("goes_on"), handler="reused:goes_on", package=bench.package, version="first", reuse=CALLS)
    assert call(bench, "count").result["number"] == 1
    with bench.sandbox.start(spec) as run:
        follow(run)
        slot = slot_of(run)
    assert slot.ends is not None, "it was kept"
    orders = slot.ends.orders
    wait_until(lambda: bool(select.select([orders], [], [], 0)[0]) and orders.recv(1, socket.MSG_PEEK) == b"")
    assert call(bench, "count").result["number"] <= 2
