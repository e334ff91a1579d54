"""What starts sandboxes is killed from the first millisecond of a start on, or stays away for half a minute.

The spawner of one backend, the broker of the other and the daemon behind it: every accepted task ends once, soon after
the recovery; nothing is parked, and nothing counts that had not begun.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from support.backends.docker_daemon import daemon
from support.faults.outages import (
    Victim,
    counted_too_much,
    durable_backends_used,
    keep_away,
    kill_during_start,
    victims_with,
)
from support.faults.platform import Faulty, faulty_platform
from support.faults.waves import assert_ended_well, fill
from support.run_seed import seeds

WAIT_SECONDS = 60.0
OUTAGE_SECONDS = 30.0
IN_FLIGHT = 40
SAMPLED, ALL = 3, 30

pytestmark = [pytest.mark.slow, pytest.mark.machine("beside"), pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Attacked:
    platform: Faulty
    victims: Mapping[str, Victim]


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    """A lane on each backend; as many lost machines allowed as usual, so that an outage that counts would park."""
    settings = {"MECAPY_SANDBOX_BACKENDS": '{"default": "docker"}', "MECAPY_MAX_ATTEMPTS": "5"}
    with daemon() as engine, faulty_platform(settings, engine) as platform:
        yield Attacked(platform, victims_with(engine))


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=() if place < SAMPLED else pytest.mark.long) for place, seed in enumerate(seeds(ALL))],
)
def test_kills_during_a_start_cost_no_task(attacked: Attacked, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    platform = attacked.platform
    before = len(platform.kills)
    fill(platform, IN_FLIGHT)
    kill_during_start(platform, attacked.victims, seed)
    fill(platform, IN_FLIGHT)
    assert_ended_well(platform, platform.kills[before:], WAIT_SECONDS, capsys)
    assert counted_too_much(platform) == []
    assert durable_backends_used(platform) == {"docker"}


@pytest.mark.parametrize("names", [("spawner", "broker"), ("dockerd",)], ids="-".join)
def test_half_a_minute_without_what_starts_sandboxes_parks_nothing_and_counts_nothing_that_had_not_begun(
    attacked: Attacked, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    platform = attacked.platform
    before = len(platform.kills)
    fill(platform, IN_FLIGHT)
    killed = keep_away(platform, {name: attacked.victims[name] for name in names}, OUTAGE_SECONDS)
    assert all(killed.values()), killed
    fill(platform, IN_FLIGHT)
    assert_ended_well(platform, platform.kills[before:], WAIT_SECONDS, capsys)
    assert counted_too_much(platform) == []
