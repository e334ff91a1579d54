"""Which lane a task belongs to."""

import pytest

from mecapy_platform.core.lanes import Lane, lane_for


@pytest.mark.parametrize(
    ("timeout", "p95", "runs", "lane"),
    [
        (5, None, 0, Lane.HIGH_PRIORITY),
        (5.1, None, 0, Lane.DEFAULT),
        (300, None, 0, Lane.DEFAULT),
        (301, None, 0, Lane.LONG_RUNNING),
        (3600, 2.0, 20, Lane.HIGH_PRIORITY),
        (3600, 4.0, 20, Lane.DEFAULT),
        (3600, 2.0, 19, Lane.LONG_RUNNING),
        (5, 400.0, 1000, Lane.HIGH_PRIORITY),
    ],
)
def test_the_declared_limit_decides_and_history_may_only_shorten(
    timeout: float, p95: float | None, runs: int, lane: Lane
) -> None:
    assert lane_for(timeout, p95, runs) is lane
