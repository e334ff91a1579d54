"""`kill -9` of every part among 300 tasks: each accepted task ends exactly once, and soon.

See docs/reference/faults.md.
"""

import random
import time
from collections.abc import Iterator

import pytest

from support.faults.platform import Faulty, faulty_platform
from support.faults.waves import USUAL, assert_ended_well, fill, kill, outstanding
from support.platform.embedded_process import wait_for
from support.run_seed import seeds

WAIT_SECONDS = 60.0
UNDISTURBED = 60
WAVES = {
    "of workers": (
        "a worker",
        "all workers",
        "spawner",
        "after claim",
        "after upload before finish",
        "after finish before hint",
    ),
    "of services": ("API", "after submit before hint", "relay", "Valkey", "FLUSHALL", "PostgreSQL", "mecapy up"),
}
AT_ANY_MOMENT = ("a worker", "all workers", "API", "relay", "spawner", "PostgreSQL", "Valkey", "FLUSHALL")

pytestmark = [pytest.mark.machine, pytest.mark.timeout(600)]


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
    return max(WAIT_SECONDS, 2 * (time.monotonic() - began) * USUAL.in_flight / UNDISTURBED)


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
    assert_random_kills_end_well(platform, wait_seconds, capsys, seeds(3))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_after_thirty_kills_at_random_moments_every_accepted_task_ends_exactly_once_and_soon(
    platform: Faulty, wait_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_random_kills_end_well(platform, wait_seconds, capsys, seeds(30))


def assert_random_kills_end_well(
    platform: Faulty, wait_seconds: float, capsys: pytest.CaptureFixture[str], numbers: list[int]
) -> None:
    before = len(platform.kills)
    for number in numbers:
        chosen = random.Random(number)
        kill(platform, chosen.choice(AT_ANY_MOMENT), wait_seconds, delay=chosen.uniform(0, 2))
    assert_ended_well(platform, platform.kills[before:], wait_seconds, capsys)
