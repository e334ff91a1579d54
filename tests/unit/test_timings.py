"""What a run of tests says of its time when it ends."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from support.timings import DEAREST, Timings


def report(process: str, seconds: float, when: str = "call", cpu_seconds: float = 0.0) -> Any:
    node = SimpleNamespace(gateway=SimpleNamespace(id=process))
    return SimpleNamespace(node=node, duration=seconds, when=when, cpu_seconds=cpu_seconds)


def timings(*ends: float) -> Timings:
    """Whose clock shows 0 first, then these moments, report by report."""
    moments = iter((0.0, *ends))
    return Timings(clock=lambda: next(moments))


def test_a_group_adds_up_its_cases_their_fixtures_and_its_cpu() -> None:
    told = timings(2, 5, 6)
    for seconds, when in ((2, "setup"), (3, "call"), (1, "teardown")):
        told.add("tests/a.py", report("gw0", seconds, when, cpu_seconds=0.5))
    assert told.lines()[0].split() == ["6.0", "s", "1.5", "s", "CPU", "1", "cases", "gw0", "tests/a.py"]


def test_the_dearest_groups_are_told_dearest_first_and_no_more_of_them_than_that() -> None:
    told = timings(*range(DEAREST + 5))
    for number in range(DEAREST + 5):
        told.add(f"tests/{number}.py", report("gw0", number))
    seconds = [float(line.split()[0]) for line in told.lines() if "CPU" in line]
    assert len(seconds) == DEAREST
    assert all(earlier > later for earlier, later in pairwise(seconds))


def test_the_tail_is_the_time_between_the_ends_of_the_first_process_and_of_the_last() -> None:
    told = timings(100, 340)
    told.add("tests/short.py", report("gw0", 100))
    told.add("tests/long.py", report("gw1", 340))
    assert told.lines()[-3:] == [
        "gw0 ended after 100 s with tests/short.py",
        "gw1 ended after 340 s with tests/long.py",
        "tail, with work for some processes only: 240 s",
    ]


def test_a_run_without_cases_tells_nothing() -> None:
    assert timings().lines() == []
