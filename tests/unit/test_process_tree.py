"""Killing the top of a process tree: so many generations at once, whoever else runs stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mecapy_platform.sandbox.spawner.tree import children, kill_below
from support.platform.embedded_process import is_alive, wait_for

NESTED = """
import os, signal, sys
left = int(sys.argv[1])
if left:
    os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-S", "-c", sys.argv[2], str(left - 1), sys.argv[2]])
signal.pause()
"""


@pytest.fixture
def line() -> Iterator[list[int]]:
    """A process and its descendants, one in each of three generations."""
    top = subprocess.Popen([sys.executable, "-S", "-c", NESTED, "3", NESTED])
    found = [top.pid]
    for _ in range(3):
        found.append(wait_for(lambda: children(found[-1]), "the next generation")[0])
    yield found
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    top.wait()


def test_as_many_generations_as_asked_for_die_and_no_other(line: list[int]) -> None:
    kill_below(line[0], 2)
    wait_for(lambda: not any(is_alive(pid) for pid in line[1:3]), "both died")
    assert is_alive(line[0])
    assert is_alive(line[3])


def test_a_process_without_descendants_is_left_alone(line: list[int]) -> None:
    kill_below(line[3], 4)
    assert is_alive(line[3])
