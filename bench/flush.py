"""What one flush of this disk costs, and what a side's flushes make of its times.

A call that is kept waits for the disk, and the disk is not ours: ratios are told with the flushes taken off too.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PAGE = b"x" * 8192
SLOW_SECONDS = 0.0003  # above this the ratio without flushes is the one that is judged


def flush_seconds(folder: Path, count: int = 200) -> float:
    """Median of so many small writes, each brought to the disk as PostgreSQL does."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as target:
        for _ in range(count):
            target.write(PAGE)
            target.flush()
            began = time.perf_counter()
            os.fdatasync(target.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def without(seconds: Sequence[float], flushes_a_call: float, flush: float) -> list[float]:
    """Times with the flushes taken off, never below a tenth of what they were."""
    return [max(second / 10, second - flushes_a_call * flush) for second in seconds]
