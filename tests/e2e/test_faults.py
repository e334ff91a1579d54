"""`kill -9` of every part among 300 tasks: each accepted task ends exactly once, and soon. See docs/reference/faults.md."""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from embedded_process import wait_for
from fault_checker import Record, problems
from fault_platform import WORKERS, Faulty, Kill, faulty_platform

IN_FLIGHT = 300  # accepted and not ended when a kill comes
DURING = 40  # of them, submitted while it comes
PROGRESS = 20  # tasks that end after a recovery before the next kill
WAIT_SECONDS = 60.0
UNDISTURBED = 60

KILLS: dict[str, Callable[[Faulty], None]] = {
    "a worker": lambda platform: platform.kill_parts("worker-default"),
    "all workers": lambda platform: platform.kill_parts(*WORKERS),
    "API": lambda platform: platform.kill_parts("api"),
    "relay": lambda platform: platform.kill_parts("relay"),
    "spawner": lambda platform: platform.kill_parts("spawner"),
    "PostgreSQL": lambda platform: platform.kill_parts("postgresql"),
    "Valkey": lambda platform: platform.kill_parts("valkey"),
    "FLUSHALL": lambda platform: platform.flush_broker(),
    "after claim": lambda platform: platform.kill_at("claimed"),
    "after upload before finish": lambda platform: platform.kill_at("stored"),
    "after finish before hint": lambda platform: platform.kill_at("finished"),
    "after submit before hint": lambda platform: platform.kill_at("committed"),
    "mecapy up": lambda platform: platform.kill_everything(),
}
WAVES = {
    "of workers": ("a worker", "all workers", "spawner", "after claim", "after upload before finish", "after finish before hint"),
    "of services": ("API", "after submit before hint", "relay", "Valkey", "FLUSHALL", "PostgreSQL", "mecapy up"),
}
AT_ANY_MOMENT = ("a worker", "all workers", "API", "relay", "spawner", "PostgreSQL", "Valkey", "FLUSHALL")
SEEDS = range(10)

pytestmark = pytest.mark.timeout(600)


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
    return max(WAIT_SECONDS, 2 * (time.monotonic() - began) * IN_FLIGHT / UNDISTURBED)


@pytest.mark.slow
@pytest.mark.parametrize("wave", WAVES)
def test_after_kills_every_accepted_task_ends_exactly_once_and_soon(
    platform: Faulty, wait_seconds: float, wave: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(platform.kills)
    for what in WAVES[wave]:
        kill(platform, what, wait_seconds)
    assert_ended_well(platform, platform.kills[before:], wait_seconds, capsys)


@pytest.mark.slow
def test_after_kills_at_random_moments_every_accepted_task_ends_exactly_once_and_soon(
    platform: Faulty, wait_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(platform.kills)
    for seed in SEEDS:
        chosen = random.Random(seed)
        kill(platform, chosen.choice(AT_ANY_MOMENT), wait_seconds, delay=chosen.uniform(0, 2))
    assert_ended_well(platform, platform.kills[before:], wait_seconds, capsys)


def kill(platform: Faulty, what: str, wait_seconds: float, *, delay: float = 0.0) -> None:
    """One fault among 300 tasks on their way; afterwards tasks end again, none of them twice or wrongly."""
    fill(platform, IN_FLIGHT - DURING)
    with platform.submitting(DURING):
        threading.Event().wait(delay)
        KILLS[what](platform)
    enough = ended(platform) + PROGRESS
    wait_for(lambda: ended(platform) >= enough, f"tasks end after the recovery from {what}", wait_seconds)
    seen = platform.watched()
    assert problems(platform.records(), platform.ledger.accepted, seen, all_ended=False) == [], what


def assert_ended_well(platform: Faulty, kills: Sequence[Kill], wait_seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    """Every task ends, and none later than allowed after the last recovery (or its acceptance, where that came after it)."""
    wait_for(lambda: outstanding(platform) == 0, "every task ended", 2 * wait_seconds)
    seen = platform.watched()
    records = platform.records()
    recovered = kills[-1].recovered_at
    waits = {
        record.id: record.ended_at - max(recovered, platform.ledger.accepted[record.id].accepted_at)
        for record in records
        if record.ended_at is not None
    }
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *report(records, kills, waits), f"  waits allowed: {wait_seconds:.0f} s", ""]))
    assert problems(records, platform.ledger.accepted, seen) == []
    assert max(waits.values()) <= wait_seconds


def report(records: Sequence[Record], kills: Sequence[Kill], waits: dict[str, float]) -> Iterator[str]:
    """What was counted, since the platform started."""
    states = Counter(str(attempt["state"]) for record in records for attempt in record.attempts)
    yield f"{len(records)} tasks so far: {dict(Counter(record.state for record in records))}; attempts {dict(states)}"
    for lane, count in sorted(Counter(record.lane for record in records).items()):
        longest = max(waits[record.id] for record in records if record.lane == lane)
        yield f"  {lane:<15} {count:5} tasks, the last ended {max(0.0, longest):5.1f} s after the last recovery"
    for one in kills:
        yield f"  killed: {one.what:<25} whole again after {one.recovered_at - one.killed_at:5.1f} s"


def fill(platform: Faulty, count: int) -> None:
    """Submit until `count` tasks are on their way."""
    missing = count - outstanding(platform)
    if missing > 0:
        with platform.submitting(missing):
            pass


def outstanding(platform: Faulty) -> int:
    return sum(not record.is_ended for record in platform.records())


def ended(platform: Faulty) -> int:
    return sum(record.is_ended for record in platform.records())
