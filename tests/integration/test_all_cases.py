"""No case is lost between `make test` and `make test-long`, and none that was once there is gone unsaid."""

import re
from pathlib import Path

import pytest

from support.cases import collected, functions, known
from support.division import MACHINE, seconds_of_groups

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")


@pytest.fixture(scope="module")
def cases() -> list[str]:
    return collected()


def test_every_case_is_run_by_make_test_or_by_make_test_long(cases: list[str]) -> None:
    marks = [
        found[1] or found[2]
        for name in ("test", "test-long")
        for found in re.findall(rf"^({name}): .*\n\t@\$\(PYTEST\).* -m (?:\"([^\"]+)\"|(\w+))", MAKEFILE, re.MULTILINE)
    ]
    short, long = marks
    assert short == f"not {long}", "then each case is in one run, and in one alone"
    assert set() < set(collected(short)) < set(cases)


def test_every_case_that_was_known_is_there(cases: list[str]) -> None:
    """A function that is renamed on purpose is renamed in the list: `python tests/support/cases.py functions`."""
    found = functions(cases)
    fewer = {name: (count, found[name]) for name, count in known().items() if found[name] < count}
    assert not fewer, f"known and found: {fewer}"


def test_every_group_whose_time_is_known_is_there(cases: list[str]) -> None:
    """After a rename: the name changes in tests/groups.txt too, or a long group would go last."""
    modules = {name.partition("::")[0] for name in cases}
    named = {group.partition(" ")[0] for group in seconds_of_groups()} - {MACHINE}
    assert {name for name in named if not any(module.startswith(name) for module in modules)} == set()
