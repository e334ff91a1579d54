"""Percentiles, and the median ratio of interleaved pairs with its 95 % interval (order statistics of the ratios)."""

import math
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def line(name: str, seconds: Sequence[float]) -> str:
    p50, p95, p99 = (percentile(seconds, share) * 1000 for share in (0.5, 0.95, 0.99))
    return f"{name:<44} n={len(seconds):<5} p50 {p50:8.1f}  p95 {p95:8.1f}  p99 {p99:8.1f} ms"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median of ours/theirs pair by pair, and the bounds of its 95 % interval."""
    ratios = sorted(item / other for item, other in zip(ours, theirs, strict=True))
    count = len(ratios)
    half = 1.96 * math.sqrt(count) / 2
    low, high = max(0, math.floor(count / 2 - half)), min(count - 1, math.ceil(count / 2 + half))
    return statistics.median(ratios), ratios[low], ratios[high]


def said(name: str, found: tuple[float, float, float], target: float | None = None) -> str:
    middle, low, high = found
    text = f"{name:<44} {middle:6.2f}x  (95 % interval {low:.2f} .. {high:.2f})"
    if target is None:
        return text
    return text + f"  target <= {target:g}: {'missed' if low > target else 'met'}"
