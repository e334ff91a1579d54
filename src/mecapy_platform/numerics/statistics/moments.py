"""One column at a time: moments, quantiles, histogram, share of success, each with its confidence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from mecapy_platform.numerics.distributions import Array

MAX_BINS = 200


def moments(values: Array, confidence: float) -> dict[str, Any]:
    """Count, mean, standard deviation, skewness, excess kurtosis, ends. Intervals of mean (t) and deviation (chi2)."""
    count = len(values)
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1)) if count > 1 else None
    found: dict[str, Any] = {"count": count, "mean": mean, "std": std}
    found |= {"min": float(np.min(values)), "max": float(np.max(values)), "variance": None if std is None else std**2}
    found |= {"skewness": None, "kurtosis": None, "mean_interval": None, "std_interval": None, "standard_error": None}
    if std is None:
        return found
    error, tail = std / np.sqrt(count), (1 - confidence) / 2
    reach = float(stats.t.isf(tail, count - 1) * error)
    ends = stats.chi2.isf([tail, 1 - tail], count - 1)
    found |= {"standard_error": float(error), "mean_interval": [mean - reach, mean + reach]}
    found["std_interval"] = [std * float(np.sqrt((count - 1) / end)) for end in ends]
    if std > 0 and count > 3:
        found["skewness"] = float(stats.skew(values, bias=False))
        found["kurtosis"] = float(stats.kurtosis(values, bias=False))
    return found


def quantiles(values: Array, probabilities: Sequence[float], confidence: float) -> list[dict[str, Any]]:
    """Each with an interval between order statistics, free of any distribution; null where the sample is too small."""
    ordered, count, tail = np.sort(values), len(values), (1 - confidence) / 2
    found = []
    for probability in probabilities:
        low = int(stats.binom.ppf(tail, count, probability)) - 1
        high = int(stats.binom.isf(tail, count, probability))
        covered = low >= 0 and high < count
        found.append(
            {
                "probability": probability,
                "value": float(np.quantile(ordered, probability)),
                "interval": [float(ordered[low]), float(ordered[high])] if covered else None,
            }
        )
    return found


def histogram(values: Array, bins: int | None) -> dict[str, Any]:
    """Counts between edges; without a number of bins, widths by Freedman and Diaconis."""
    spread = float(np.ptp(values))
    quartiles = np.subtract(*np.quantile(values, [0.75, 0.25]))
    width = 2 * quartiles / len(values) ** (1 / 3)
    number = (
        bins
        or (int(np.ceil(spread / width)) if width > 0 and spread / width < MAX_BINS else 0)
        or (MAX_BINS if width > 0 else 10)
    )
    counts, edges = np.histogram(values, bins=max(1, min(number, MAX_BINS)))
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def proportion(holds: Array, confidence: float) -> dict[str, Any]:
    """Share of points for which something holds (is not 0), with the exact interval of Clopper and Pearson."""
    count, found = len(holds), int(np.count_nonzero(holds))
    interval = stats.binomtest(found, count).proportion_ci(confidence, method="exact")
    return {"count": count, "holds": found, "share": found / count, "interval": [interval.low, interval.high]}
