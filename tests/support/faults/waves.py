"""Kills among tasks on their way, and what must hold after a wave of them. Shared by the backends of the sandbox."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from support.faults.checker import Record, problems
from support.faults.platform import WORKERS, Faulty, Kill
from support.platform.embedded_process import wait_for

FILL_ROUNDS = 5


@dataclass(frozen=True)
class Load:
    """`in_flight`: accepted and not ended when a kill comes; `during` of them are submitted while it comes.

    `progress`: tasks that end after a recovery before the next kill.
    """

    in_flight: int = 300
    during: int = 40
    progress: int = 20


USUAL = Load()

KILLS: dict[str, Callable[[Faulty], None]] = {
    "a worker": lambda platform: platform.kill_parts("worker-default"),
    "all workers": lambda platform: platform.kill_parts(*WORKERS),
    "API": lambda platform: platform.kill_parts("api"),
    "relay": lambda platform: platform.kill_parts("relay"),
    "spawner": lambda platform: platform.kill_parts("spawner"),
    "broker": lambda platform: platform.kill_parts("broker"),
    "dockerd": lambda platform: platform.kill_daemon(),
    "PostgreSQL": lambda platform: platform.kill_parts("postgresql"),
    "Valkey": lambda platform: platform.kill_parts("valkey"),
    "FLUSHALL": lambda platform: platform.flush_broker(),
    "after claim": lambda platform: platform.kill_at("claimed"),
    "after upload before finish": lambda platform: platform.kill_at("stored"),
    "after finish before hint": lambda platform: platform.kill_at("finished"),
    "after submit before hint": lambda platform: platform.kill_at("committed"),
    "mecapy up": lambda platform: platform.kill_everything(),
}


def kill(platform: Faulty, what: str, wait_seconds: float, *, delay: float = 0.0, load: Load = USUAL) -> None:
    """One fault among tasks on their way; afterwards tasks end again, none of them twice or wrongly."""
    fill(platform, load.in_flight - load.during)
    with platform.submitting(load.during):
        threading.Event().wait(delay)
        KILLS[what](platform)
    enough = ended(platform) + load.progress
    fill(platform, 2 * load.progress)  # a platform that was whole again soon may have ended all of them by now
    wait_for(lambda: ended(platform) >= enough, f"tasks end after the recovery from {what}", wait_seconds)
    seen = platform.watched()
    found = problems(
        platform.records(), platform.ledger.accepted, seen, all_ended=False, is_durable=platform.is_durable
    )
    assert found == [], (what, len(found), found[:5])


def assert_ended_well(
    platform: Faulty, kills: Sequence[Kill], wait_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every task ends, and none later than allowed after the last recovery.

    Or its acceptance, where that came after it.
    """
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
    assert problems(records, platform.ledger.accepted, seen, is_durable=platform.is_durable) == []
    assert max(waits.values()) <= wait_seconds


def report(records: Sequence[Record], kills: Sequence[Kill], waits: dict[str, float]) -> Iterator[str]:
    """What was counted, since the platform started."""
    states = Counter(str(attempt["state"]) for record in records for attempt in record.attempts)
    yield f"{len(records)} tasks so far: {dict(Counter(record.state for record in records))}; attempts {dict(states)}"
    for lane, count in sorted(Counter(record.lane for record in records).items()):
        longest = max(waits[record.id] for record in records if record.lane == lane)
        yield f"  {lane:<15} {count:5} tasks, the last ended {max(0.0, longest):5.1f} s after the last recovery"
    for item in kills:
        took = item.recovered_at - item.killed_at
        yield f"  killed: {item.what:<25} among {item.in_flight:3} tasks, whole again after {took:5.1f} s"


def fill(platform: Faulty, count: int) -> None:
    """Submit until `count` tasks are on their way: some end meanwhile, so more than once."""
    for _ in range(FILL_ROUNDS):
        missing = count - outstanding(platform)
        if missing <= 0:
            break
        with platform.submitting(missing):
            pass


def outstanding(platform: Faulty) -> int:
    return platform.count(ended=False)


def ended(platform: Faulty) -> int:
    return platform.count(ended=True)
