import pytest

from mecapy_platform.embedded.durability import check_durability
from mecapy_platform.services.backends import chosen
from mecapy_platform.settings import Settings


def test_doctor_says_that_long_calculations_end_with_their_worker_and_how_to_change_that() -> None:
    found = check_durability(Settings())
    assert (found.holds, found.required) == (False, False)
    assert "MECAPY_SANDBOX_BACKENDS" in found.detail


@pytest.mark.parametrize(
    "settings", [Settings(sandbox_backend="docker"), Settings(sandbox_backends={"long_running": "docker"})]
)
def test_doctor_says_that_they_go_on_where_they_run_in_containers(settings: Settings) -> None:
    found = check_durability(settings)
    assert found.holds
    assert "60 s" in found.detail


def test_short_lanes_alone_on_docker_are_not_enough() -> None:
    assert not check_durability(
        Settings(sandbox_backend="docker", sandbox_backends={"long_running": "bubblewrap"})
    ).holds


@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        (Settings(), False),
        (Settings(sandbox_backends={"long_running": "docker"}), False),
        (Settings(images_backend="docker"), True),
        (Settings(sandbox_backend="docker"), True),
    ],
)
def test_images_run_only_where_every_worker_has_docker(settings: Settings, runs: bool) -> None:
    assert (chosen(settings).images is not None) is runs
