"""The order of versions, after semver.org's own example."""

import itertools

import pytest

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.semver import SemVer

PRERELEASES = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
]
RISING = ["0.9.9", *PRERELEASES, "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]


@pytest.mark.parametrize(("low", "high"), list(itertools.combinations(RISING, 2)))
def test_versions_rise(low: str, high: str) -> None:
    assert SemVer.parse(low) < SemVer.parse(high)
    assert SemVer.parse(high) > SemVer.parse(low)


def test_build_metadata_does_not_count() -> None:
    assert SemVer.parse("1.0.0+linux") == SemVer.parse("1.0.0+windows")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3-a..b",
        "v1.2.3",
        "1.2.3 ",
        "1.2.-3",
        "1.2.3\n",
        "9" * 30 + ".0.0",
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        SemVer.parse(text)
