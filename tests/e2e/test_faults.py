"""`kill -9` of every part while hundreds of tasks run: each accepted task ends exactly once, and soon. See docs/reference/faults.md."""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from embedded_process import wait_for
from fault_checker import Record, problems
from fault_platform import WORKERS, Faulty, faulty_platform

IN_FLIGHT = 300
DURING = 40  # of them, submitted while the kill happens
PROGRESS = 20  # tasks that end after each recovery before the next kill
WAIT_SECONDS = 60.0
UNDISTURBED = 60
PARTS = ("worker-default", "api", "relay", "valkey", "postgresql", "spawner")

KILLS: dict[str, Callable[[Faulty], None]] = {
    **{part: lambda platform, part=part: platform.kill_parts(part) for part in PARTS},  # type: ignore[misc]
    "all workers": lambda platform: platform.kill_parts(*WORKERS),
    "FLUSHALL": lambda platform: platform.flush_broker(),
    "at claimed": lambda platform: platform.kill_at("claimed"),
    "at stored": lambda platform: platform.kill_at("stored"),
    "at finished": lambda platform: platform.kill_at("finished"),
    "at committed": lambda platform: platform.kill_at("committed"),
    "mecapy up": lambda platform: platform.kill_everything(),
}
AT_ANY_MOMENT = (*PARTS, "all workers", "FLUSHALL", "mecapy up")


@pytest.fixture(scope="module")
def platform() -> Iterator[Faulty]:
    with faulty_platform() as running:
        yield running


@pytest.fixture(scope="module")
def wait_seconds(platform: Faulty) -> float:
    """60 s; more on a machine too slow to work off what is in flight in half of that, undisturbed."""
    fill(platform, UNDISTURBED)
    began = time.monotonic()
    wait_for(lambda: outstanding(platform) == 0, "undisturbed tasks end", 240)
    drain = (time.monotonic() - began) * IN_FLIGHT / UNDISTURBED
    return max(WAIT_SECONDS, 2 * drain)


@pytest.mark.parametrize("what", KILLS)
def test_work_goes_on_after_a_kill(platform: Faulty, wait_seconds: float, what: str) -> None:
    fill(platform, IN_FLIGHT - DURING)
    with platform.submitting(DURING):
        KILLS[what](platform)
    goes_on(platform, wait_seconds)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_work_goes_on_after_a_kill_at_a_random_moment(platform: Faulty, wait_seconds: float, seed: int) -> None:
    chosen = random.Random(seed)
    fill(platform, IN_FLIGHT - DURING)
    with platform.submitting(DURING):
        threading.Event().wait(chosen.uniform(0, 2))
        KILLS[chosen.choice(AT_ANY_MOMENT)](platform)
    goes_on(platform, wait_seconds)


def test_after_all_kills_every_accepted_task_ended_exactly_once_and_none_waited_long(
    platform: Faulty, wait_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_for(lambda: outstanding(platform) == 0, "every task ended", 2 * wait_seconds)
    seen = platform.watched()
    records = platform.records()
    waits = platform.waits(records)
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *report(platform, records, waits), f"waits allowed: {wait_seconds:.0f} s", ""]))
    assert problems(records, platform.ledger.accepted, seen) == []
    assert max(waits) <= wait_seconds


def report(platform: Faulty, records: list[Record], waits: list[float]) -> Iterator[str]:
    states = Counter(str(attempt["state"]) for record in records for attempt in record.attempts)
    yield f"{len(records)} tasks, {len(platform.kills)} kills, {platform.ledger.repeats} requests repeated by the client"
    yield f"ends {dict(Counter(record.state for record in records))}, attempts {dict(states)}"
    for lane, count in Counter(record.lane for record in records).items():
        longest = max(wait for wait, record in zip(waits, records, strict=True) if record.lane == lane)
        yield f"  {lane:<15} {count:5} tasks, longest wait while the platform was whole {longest:5.1f} s"
    for kill in platform.kills:
        yield f"  killed: {kill.what:<25} whole again after {kill.recovered_at - kill.killed_at:5.1f} s"


def fill(platform: Faulty, count: int) -> None:
    """Submit until `count` tasks are on their way."""
    missing = count - outstanding(platform)
    if missing > 0:
        with platform.submitting(missing):
            pass


def outstanding(platform: Faulty) -> int:
    return sum(not record.is_ended for record in platform.records())


def goes_on(platform: Faulty, seconds: float) -> None:
    """Tasks end again, and nothing of what has ended so far did so twice or wrongly."""
    ended = sum(record.is_ended for record in platform.records())
    wait_for(lambda: sum(record.is_ended for record in platform.records()) >= ended + PROGRESS, "tasks end after the recovery", seconds)
    seen = platform.watched()
    assert problems(platform.records(), platform.ledger.accepted, seen, all_ended=False) == []
