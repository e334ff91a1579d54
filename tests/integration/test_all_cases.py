"""No case is lost between `make test` and `make test-long`, and none that was once there is gone unsaid."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from support.cases import collected, functions, known
from support.division import MACHINE, seconds_of_groups

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
RECIPES = {
    name: re.findall(rf"^{name}: .*##.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[0] for name in ("test", "test-long")
}
EXPRESSIONS = {
    name: [quoted or word for quoted, word in re.findall(r"\$\(PYTEST\).* -m (?:\"([^\"]+)\"|(\w+))", recipe)]
    for name, recipe in RECIPES.items()
}


@pytest.fixture(scope="module")
def cases() -> list[str]:
    return collected()


def test_every_case_is_run_by_make_test_or_by_make_test_long(cases: list[str]) -> None:
    """Whatever marks a case has, the selection of one run alone takes it; and what is measured alone is some."""
    runs = {name: selections(name) for name in ("test", "test-long")}
    assert {name: len(found) for name, found in runs.items()} == {"test": 2, "test-long": 1}
    for marks in (set(), {"long"}, {"alone"}, {"long", "alone"}):
        taken = [name for name, found in runs.items() for selection in found if selection.evaluate(having(marks))]
        assert taken == (["test-long"] if "long" in marks else ["test"])
    assert set() < set(collected(EXPRESSIONS["test"][1])) < set(cases)


def selections(target: str) -> list[Expression]:
    return [Expression.compile(text) for text in EXPRESSIONS[target]]


def having(marks: set[str]) -> Callable[..., bool]:
    return lambda mark, /, **_: mark in marks


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
