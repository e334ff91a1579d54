"""When schedules are due."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.services.schedules.times import Times


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_times_are_those_of_the_zone_told_in_utc() -> None:
    times = Times("30 6 * * 1-5", "Europe/Paris")
    assert times.upcoming(at("2026-11-27T12:00+01:00"), 2) == [at("2026-11-30T05:30Z"), at("2026-12-01T05:30Z")]
    assert times.explained() == "At 06:30 on Monday through Friday"


def test_an_hour_that_the_clock_skips_or_repeats_fires_a_fixed_time_once() -> None:
    times = Times("30 2 * * *", "Europe/Paris")
    spring = times.upcoming(at("2026-03-28T12:00Z"), 2)
    assert spring == [at("2026-03-29T01:00Z"), at("2026-03-30T00:30Z")]
    autumn = times.upcoming(at("2026-10-24T12:00Z"), 2)
    assert autumn == [at("2026-10-25T00:30Z"), at("2026-10-26T01:30Z")]


def test_a_time_each_half_hour_comes_twice_in_an_hour_that_comes_twice() -> None:
    found = Times("*/30 * * * *", "Europe/Paris").upcoming(at("2026-10-24T23:45Z"), 5)
    assert [(later - earlier).total_seconds() for earlier, later in pairwise(found)] == [1800.0] * 4


@pytest.mark.parametrize(
    ("cron", "zone", "path"),
    [
        ("61 * * * *", "UTC", "cron"),
        ("* * * * * *", "UTC", "cron"),
        ("@daily", "UTC", "cron"),
        ("0 0 30 2 *", "UTC", "cron"),
        ("", "UTC", "cron"),
        ("0 " * 200, "UTC", "cron"),
        ("0 0 * * *", "Mars/Olympus", "time_zone"),
        ("0 0 * * *", "../etc/passwd", "time_zone"),
        ("0 0 * * *", "/etc/localtime", "time_zone"),
        ("0 0 * * *", "", "time_zone"),
        ("0 0 * * *", "Europe\0Paris", "time_zone"),
    ],
)
def test_what_names_no_time_is_refused_with_its_place(cron: str, zone: str, path: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        Times(cron, zone)
    assert [problem.path for problem in error.value.problems] == [path]
    assert error.value.code == {"cron": "cron_invalid", "time_zone": "time_zone_unknown"}[path]
