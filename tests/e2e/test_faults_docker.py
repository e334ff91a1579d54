"""The fault tests on containers, cold ones and ones started ahead: fewer tasks, the same promises.

See docs/reference/faults.md.
"""

from collections.abc import Iterator

import pytest

from support.backends.docker_daemon import daemon
from support.faults.platform import Faulty, faulty_platform
from support.faults.waves import Load, assert_ended_well, kill

KILLS = (
    "all workers",
    "after claim",
    "after upload before finish",
    "after finish before hint",
    "broker",
    "dockerd",
    "PostgreSQL",
    "mecapy up",
)
LOAD = Load(in_flight=30, during=10, progress=8)  # a container costs what ten warm calls do
WAIT_SECONDS = 60.0

pytestmark = [pytest.mark.machine("beside"), pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["0", pytest.param("4", marks=pytest.mark.long)], ids=["cold", "warm"])
def platform(request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """Those started ahead cost twice as many containers: they are left to the long run."""
    backend = {"MECAPY_SANDBOX_BACKEND": "docker", "MECAPY_DOCKER_WARM": request.param}
    with daemon() as engine, faulty_platform(backend, engine) as running:
        yield running


def test_after_kills_every_accepted_task_ends_exactly_once(
    platform: Faulty, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in KILLS:
        kill(platform, what, WAIT_SECONDS, load=LOAD)
    assert_ended_well(platform, platform.kills, WAIT_SECONDS, capsys)
