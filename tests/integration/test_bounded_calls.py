"""Bounded calls: memory and time are limits, and a process that is lost is said to be lost."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mecapy_platform.bounded.calls import BoundedCalls, Bounds
from mecapy_platform.bounded.frames import Bound, BoundError

HERE = "support.bounded_targets"
WIDE = Bounds(seconds=60, memory_bytes=256 << 20)


@pytest.fixture(scope="module")
def calls() -> Iterator[BoundedCalls]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        made = BoundedCalls(HERE)
        yield made
        made.close()


def call(calls: BoundedCalls, name: str, argument: bytes = b"", bounds: Bounds = WIDE) -> bytes:
    return calls.call(f"{HERE}:{name}", argument, bounds)


def test_an_answer_of_any_size_comes_whole(calls: BoundedCalls) -> None:
    argument = os.urandom(3 << 20)
    assert call(calls, "reverse", argument) == argument[::-1]
    assert call(calls, "reverse") == b""


@pytest.mark.parametrize(
    ("name", "bounds", "bound"),
    [
        ("fill_memory", WIDE, Bound.MEMORY),
        ("work_without_end_in_one_statement", Bounds(1.0, 256 << 20), Bound.TIME),
        ("work_without_end_and_answer_early", Bounds(1.0, 256 << 20), Bound.TIME),
        ("leave", WIDE, Bound.LOST),
        ("fail", WIDE, Bound.LOST),
    ],
)
def test_a_call_that_has_no_whole_answer_says_why(calls: BoundedCalls, name: str, bounds: Bounds, bound: Bound) -> None:
    with pytest.raises(BoundError) as caught:
        call(calls, name, bounds=bounds)
    assert caught.value.bound is bound
    assert call(calls, "reverse", b"ab") == b"ba"


def test_a_template_that_was_killed_is_started_again(calls: BoundedCalls) -> None:
    template = int(call(calls, "parent"))
    os.kill(template, signal.SIGKILL)
    while os.path.exists(f"/proc/{template}/fd/0"):  # noqa: PTH110 - a zombie has none
        pass
    assert int(call(calls, "parent")) != template
