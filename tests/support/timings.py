"""Where the time of a run went, told at its end: the dearest groups of cases, and the tail, when a process had no work.

Nothing is judged by it. The CPU of a case is that of its process and of the children that ended in it; what a group
took beside that it waited for, or for a core.
"""

import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from support import division

DEAREST = 10


@dataclass
class GroupTime:
    """`began` and `ended` are seconds of the run."""

    process: str
    began: float
    cases: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    ended: float = 0.0


@dataclass
class Timings:
    """Fed with the reports of all processes by the one that gives out the work."""

    clock: Callable[[], float] = time.monotonic
    started: float = 0.0
    groups: dict[str, GroupTime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def add(self, group: str, report: pytest.TestReport) -> None:
        now = self.clock() - self.started
        node = getattr(report, "node", None)
        process = node.gateway.id if node is not None else "this process"
        took = self.groups.setdefault(group, GroupTime(process, now - report.duration))
        took.cases += report.when == "setup"
        took.seconds += report.duration
        took.cpu_seconds += getattr(report, "cpu_seconds", 0.0)
        took.ended = now

    def lines(self) -> list[str]:
        """A table of the dearest groups, and when each process came to its end and by what."""
        dearest = sorted(self.groups.items(), key=lambda item: -item[1].seconds)[:DEAREST]
        rows = [
            f"{took.seconds:7.1f} s  {took.cpu_seconds:7.1f} s CPU  {took.cases:5} cases  {took.process}  {name}"
            for name, took in dearest
        ]
        return [*rows, *_tail(self.groups)]

    def table(self) -> str:
        """The seconds of each group, the dearest first, as `division` reads them."""
        rows = sorted(((took.seconds, name) for name, took in self.groups.items()), reverse=True)
        return "".join(f"{seconds:.1f} {name}\n" for seconds, name in rows)


def _tail(groups: Mapping[str, GroupTime]) -> list[str]:
    last: dict[str, tuple[float, str]] = {}
    for name, took in groups.items():
        last[took.process] = max(last.get(took.process, (0.0, "")), (took.ended, name))
    ends = [ended for ended, _ in last.values()]
    rows = [f"{process} ended after {ended:.0f} s with {name}" for process, (ended, name) in sorted(last.items())]
    return [*rows, f"tail, with work for some processes only: {max(ends) - min(ends):.0f} s"] if ends else []


class Counted:
    """In a process that runs cases: puts the CPU since the report before on each report."""

    def __init__(self) -> None:
        self._spent = _cpu_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        spent = _cpu_seconds()
        report.cpu_seconds, self._spent = spent - self._spent, spent  # type: ignore[attr-defined]
        return report


class Told:
    """In the process that gives out the work: adds up, tells it at the end, and leaves it in build/groups.txt."""

    def __init__(self, groups: Path, measured: Path) -> None:
        self._written, self._measured, self._timings = groups, measured, Timings()

    @cached_property
    def _groups(self) -> Mapping[str, str]:
        return division.written_groups(self._written)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._timings.add(self._groups[report.nodeid], report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("where the time went", sep="-")
        for line in self._timings.lines():
            terminalreporter.write_line(line)
        self._measured.parent.mkdir(exist_ok=True)
        self._measured.write_text(self._timings.table(), "utf-8")


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
