"""What is killed below a warm call ends that call as a lost machine, no other, and the next one starts all the same."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration.sandbox_contract import Bench, Outcome, bench_for, follow, wait_until
from mecapy_platform.sandbox.base import EndReason, LogChunk, Run
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.zygote import Zygote
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits, WarmPool
from support.backends.warm_runs import is_warm, slot_of


@pytest.fixture
def bench() -> Iterator[Bench]:
    sandbox = BubblewrapSandbox(warm=WarmLimits(slots=4))
    with bench_for(sandbox) as made:
        yield made
    sandbox.close()


def pool_of(bench: Bench) -> WarmPool:
    assert isinstance(bench.sandbox, BubblewrapSandbox)
    assert bench.sandbox.warm is not None
    return bench.sandbox.warm


def zygote_of(bench: Bench) -> Zygote:
    return next(iter(pool_of(bench).held().values()))


def start(bench: Bench, function: str, organization: str = "first") -> Run:
    spec = replace(
        bench.spec(function, {"value": 21} if function == "double" else None), organization=organization, is_warm=True
    )
    return bench.sandbox.start(spec)


def start_warm(bench: Bench, function: str) -> Run:
    spec = replace(bench.spec(function), organization="first", is_warm=True)
    pool_of(bench).make_ready(spec, ())
    run = start(bench, function)
    assert is_warm(run)
    return run


def follow_and(run: Run, act: object) -> Outcome:
    """Follow a run that says "ready"; then do it."""
    acted: list[bool] = []

    def once(event: object) -> None:
        if isinstance(event, LogChunk) and not acted:
            acted.append(True)
            act()  # type: ignore[operator]

    return follow(run, once)


@pytest.mark.parametrize("victim", ["keeper", "bwrap"])
def test_a_killed_warm_sandbox_ends_its_calls_and_the_next_call_starts(bench: Bench, victim: str) -> None:
    with start_warm(bench, "waits_for_stop") as run:
        pid = int(zygote_of(bench).facts[victim])
        outcome = follow_and(run, lambda: os.kill(pid, signal.SIGKILL))
    assert outcome.ended.reason is EndReason.MACHINE
    with start(bench, "double") as again:
        assert follow(again).result == {"result": 42}
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    with start(bench, "double") as again:
        assert follow(again).result == {"result": 42}


def test_a_killed_slot_ends_its_own_call_alone(bench: Bench) -> None:
    first, second = start_warm(bench, "waits_for_stop"), start_warm(bench, "double_slowly")
    with first, second:
        assert slot_of(first).zygote is slot_of(second).zygote
        outcome = follow_and(first, lambda: os.kill(slot_of(first).pid, signal.SIGKILL))
        assert outcome.ended.reason is EndReason.MACHINE
        assert follow(second).result == {"result": "slowly"}
    with start(bench, "double") as again:
        assert is_warm(again)
        assert follow(again).result == {"result": 42}


def test_a_call_that_ends_by_its_memory_limit_ends_alone(bench: Bench) -> None:
    neighbour = start_warm(bench, "double_slowly")
    spec = replace(bench.spec("takes_memory", {"megabytes": 400}, memory_mb=128), organization="first", is_warm=True)
    with neighbour, bench.sandbox.start(spec) as hungry:
        assert is_warm(hungry)
        assert follow(hungry).ended.reason is EndReason.OUT_OF_MEMORY
        assert follow(neighbour).result == {"result": "slowly"}


def test_a_killed_spawner_takes_warm_calls_along_and_they_come_back(bench: Bench) -> None:
    assert isinstance(bench.sandbox, BubblewrapSandbox)
    with start_warm(bench, "waits_for_stop") as run:
        assert bench.sandbox._local is not None
        spawner = bench.sandbox._local.process
        outcome = follow_and(run, spawner.kill)
    assert outcome.ended.reason is EndReason.MACHINE
    with start(bench, "double") as again:
        assert follow(again).result == {"result": 42}
    with start_warm(bench, "prints") as warm:
        assert follow(warm).text("stderr") == "oops\n"


def test_organizations_share_no_warm_sandbox(bench: Bench) -> None:
    for organization in ("first", "second"):
        spec = replace(bench.spec("double", {"value": 1}), organization=organization, is_warm=True)
        pool_of(bench).make_ready(spec, ())
    runs = [start(bench, "double", organization) for organization in ("first", "second")]
    zygotes = [slot_of(run).zygote for run in runs if is_warm(run)]
    assert len({int(zygote.facts["bwrap"]) for zygote in zygotes}) == 2
    for run in runs:
        with run:
            assert follow(run).result == {"result": 42}


def test_a_killed_keeper_leaves_no_group(bench: Bench) -> None:
    assert isinstance(bench.sandbox, BubblewrapSandbox)
    with start_warm(bench, "waits_for_stop") as run:
        assert bench.sandbox._local is not None
        name = Path(bench.sandbox._local.directory).name
        keeper = int(zygote_of(bench).facts["keeper"])
        slots = list(Path("/sys/fs/cgroup").glob(f"**/mecapy-{name}/*-slot-*"))
        follow_and(run, lambda: os.kill(keeper, signal.SIGKILL))
    wait_until(lambda: not any(group.exists() for group in slots))
    assert slots
    assert not any(group.exists() for group in slots)


def test_closing_the_backend_leaves_no_process_and_no_group(bench: Bench) -> None:
    assert isinstance(bench.sandbox, BubblewrapSandbox)
    with start_warm(bench, "prints") as run:
        follow(run)
    assert bench.sandbox._local is not None
    name = Path(bench.sandbox._local.directory).name
    pids = [int(zygote_of(bench).facts[part]) for part in ("keeper", "bwrap")]
    bench.sandbox.close()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not list(Path("/sys/fs/cgroup").glob(f"**/mecapy-{name}"))


def test_hundreds_of_calls_leave_no_descriptor_behind(bench: Bench) -> None:
    first = [
        start_warm(bench, "prints") for _ in range(4)
    ]  # as many slots as there may be, so that none is opened later
    for item in first:
        with item:
            follow(item)
    zygote = zygote_of(bench)
    keeper = int(zygote.facts["keeper"])

    def descriptors() -> tuple[int, int]:
        """At rest, without those of the workers that wait.

        How many of them have been heard of by then is a matter of moments.
        """
        wait_until(lambda: zygote.busy == 0)
        waiting = sum(4 for slot in tuple(zygote.free) if slot.ends is not None)
        return len(list(Path("/proc/self/fd").iterdir())) - waiting, len(list(Path(f"/proc/{keeper}/fd").iterdir()))

    for _ in range(50):
        with start(bench, "double") as run:
            follow(run)
    before = descriptors()
    for _ in range(300):
        with start(bench, "double") as run:
            assert follow(run).result == {"result": 42}
    assert zygote.slots == 4
    after = descriptors()
    assert all(late - early <= 4 for early, late in zip(before, after, strict=True)), (before, after)


def test_an_answer_of_the_spawner_that_nobody_expects_does_not_end_the_thread_of_the_pool(bench: Bench) -> None:
    """A thread that ended there would leave a pool that makes no warm sandbox any more, and says nothing of it."""
    asking: list[str] = []
    spawners: list[socket.socket] = []

    def connect() -> socket.socket:
        ours, theirs = socket.socketpair()
        spawners.append(theirs)
        theirs.sendall(b'{"started": [0]}\n' if asking else b"this is no JSON\n")
        asking.append(threading.current_thread().name)
        return ours

    pool = WarmPool(connect, "", WarmLimits(slots=1))
    first, second, other = (replace(bench.spec("double"), organization=name, is_warm=True) for name in "abc")

    def ask_again() -> bool:
        pool.make_ready(other, ())  # by hand; from then on the machine counts as able again
        pool.start(second, ())
        return False

    try:
        assert pool.start(first, ()) is None
        wait_until(lambda: asking == ["warm-pool"])
        wait_until(lambda: asking.count("warm-pool") == 2 or ask_again())
    finally:
        for spawner in spawners:
            spawner.close()
        pool.close()
    assert asking.count("warm-pool") == 2
