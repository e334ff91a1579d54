"""What starts sandboxes is killed from the first millisecond of a start on, or stays away for half a minute.

Every accepted task ends once, soon after the recovery; nothing is parked, and nothing counts that had not begun.
"""

from collections.abc import Iterator

import pytest

from support.faults.outages import counted_too_much, keep_away, kill_during_start
from support.faults.platform import Faulty, faulty_platform
from support.faults.waves import assert_ended_well, fill
from support.run_seed import seeds

WAIT_SECONDS = 60.0
OUTAGE_SECONDS = 30.0
IN_FLIGHT = 60
SAMPLED, ALL = 3, 30

pytestmark = [pytest.mark.slow, pytest.mark.machine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def platform() -> Iterator[Faulty]:
    """With as many lost machines allowed as usual, so that an outage that counts would park."""
    with faulty_platform({"MECAPY_MAX_ATTEMPTS": "5"}) as running:
        yield running


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=() if place < SAMPLED else pytest.mark.long) for place, seed in enumerate(seeds(ALL))],
)
def test_kills_during_a_start_cost_no_task(platform: Faulty, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(platform.kills)
    fill(platform, IN_FLIGHT)
    kill_during_start(platform, seed)
    fill(platform, IN_FLIGHT)
    assert_ended_well(platform, platform.kills[before:], WAIT_SECONDS, capsys)
    assert counted_too_much(platform) == []


def test_half_a_minute_without_the_spawner_parks_nothing_and_counts_nothing_that_had_not_begun(
    platform: Faulty, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(platform.kills)
    fill(platform, IN_FLIGHT)
    assert keep_away(platform, "spawner", OUTAGE_SECONDS) > 1
    fill(platform, IN_FLIGHT)
    assert_ended_well(platform, platform.kills[before:], WAIT_SECONDS, capsys)
    assert counted_too_much(platform) == []
