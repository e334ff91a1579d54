"""Reads how a factor scatters. Sources of the parameters: docs/reference/designs.md."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mecapy_platform.core.sampling.kinds import DistributionKind
from mecapy_platform.core.sampling.problems import Problems
from mecapy_platform.core.sampling.quantities import UnitOfFactor
from mecapy_platform.core.sampling.records import Distribution

MAX_TABLE = 10_000
_NEEDED = {
    DistributionKind.NORMAL: ("mean", "std"),
    DistributionKind.LOG_NORMAL: ("mean", "std"),
    DistributionKind.UNIFORM: ("low", "high"),
    DistributionKind.TRIANGULAR: ("low", "mode", "high"),
    DistributionKind.WEIBULL: ("shape", "scale"),
    DistributionKind.TABLE: (),
}
_MAY = {DistributionKind.LOG_NORMAL: ("location",), DistributionKind.WEIBULL: ("location",)}
_SPREADS = frozenset({"std", "scale"})
_TABLE = ("values", "weights", "cumulative")
ENDS = ("lower", "upper")


def fields_of(kind: DistributionKind) -> tuple[str, ...]:
    """The names of all fields that a distribution of this kind may have."""
    return (*_NEEDED[kind], *_MAY.get(kind, ()), *(_TABLE if kind is DistributionKind.TABLE else ENDS))


def read_distribution(
    given: Mapping[str, Any], kind: DistributionKind, unit: UnitOfFactor, path: str, problems: Problems
) -> Distribution | None:
    """None after a problem."""
    before = problems.count
    problems.known(given, path, {"distribution", "unit", *fields_of(kind)})
    unit.look([given.get(name) for name in fields_of(kind) if name not in {"shape", *_TABLE}])
    if kind is DistributionKind.TABLE:
        return _read_table(given, unit, path, problems)
    parameters = {name: _parameter(given, name, unit, path, problems) for name in _NEEDED[kind]}
    for name in _MAY.get(kind, ()):
        parameters[name] = _parameter(given, name, unit, path, problems) if name in given else 0.0
    ends = [_parameter(given, end, unit, path, problems) if end in given else None for end in ENDS]
    if problems.count != before:
        return None
    distribution = Distribution(kind, parameters, ends[0], ends[1])
    _judge(distribution, path, problems)
    return distribution if problems.count == before else None


def _parameter(given: Mapping[str, Any], name: str, unit: UnitOfFactor, path: str, problems: Problems) -> float:
    where = f"{path}.{name}"
    if name not in given:
        problems.add(where, "missing_field", f"This distribution needs {name!r}.")
        return math.nan
    if name == "shape":
        return problems.real(given[name], where, least=0.01, most=1e6)
    number = unit.number(given[name], where, spread=name in _SPREADS)
    return math.nan if number is None else number


def _judge(distribution: Distribution, path: str, problems: Problems) -> None:
    """Whether the parameters describe a distribution at all, with probability between its ends."""
    said, before = distribution.parameters, problems.count
    for name in _SPREADS & set(said):
        if said[name] <= 0:
            problems.add(f"{path}.{name}", "out_of_range", f"{name!r} must be above 0.")
    if "high" in said and not said["low"] < said["high"]:
        problems.add(f"{path}.high", "out_of_range", "'high' must be above 'low'.")
    if "mode" in said and not said["low"] <= said["mode"] <= said["high"]:
        problems.add(f"{path}.mode", "out_of_range", "'mode' must lie between 'low' and 'high'.")
    if distribution.kind is DistributionKind.LOG_NORMAL and said["mean"] <= said["location"]:
        problems.add(f"{path}.mean", "out_of_range", "The mean of a log-normal factor must lie above its location.")
    lower = -math.inf if distribution.lower is None else distribution.lower
    upper = math.inf if distribution.upper is None else distribution.upper
    first, last = said.get("low", said.get("location", -math.inf)), said.get("high", math.inf)
    if problems.count == before and not max(lower, first) < min(upper, last):
        problems.add(f"{path}.upper", "out_of_range", "Nothing of the distribution lies between 'lower' and 'upper'.")


def _read_table(given: Mapping[str, Any], unit: UnitOfFactor, path: str, problems: Problems) -> Distribution | None:
    lists = {name: _list(given.get(name), f"{path}.{name}", problems) for name in _TABLE if name in given}
    values = lists.get("values", [])
    if len(values) < 1 or ("weights" in lists) == ("cumulative" in lists):
        said = "A table needs 'values' and either 'weights' (single values) or 'cumulative' (a curve from 0 to 1)."
        problems.add(f"{path}.values", "missing_field", said)
        return None
    name = "weights" if "weights" in lists else "cumulative"
    if len(lists[name]) != len(values):
        said = f"There are {len(values)} values and {len(lists[name])} numbers in {name!r}: each needs its own."
        problems.add(f"{path}.{name}", "out_of_range", said)
        return None
    before = problems.count
    unit.look(list(values))
    numbers = [unit.number(value, f"{path}.values[{place}]") or 0.0 for place, value in enumerate(values)]
    shares = [problems.real(share, f"{path}.{name}[{place}]", least=0) for place, share in enumerate(lists[name])]
    if problems.count != before:
        return None
    return _table(name, numbers, shares, path, problems)


def _table(name: str, numbers: list[float], shares: list[float], path: str, problems: Problems) -> Distribution | None:
    if any(second <= first for first, second in pairwise(numbers)):
        problems.add(f"{path}.values", "out_of_range", "The values of a table must increase.")
        return None
    if name == "weights":
        total = math.fsum(shares)
        if not 0 < total < math.inf:
            problems.add(f"{path}.weights", "out_of_range", "The weights must add up to more than 0.")
            return None
        weights = tuple(share / total for share in shares)
        return Distribution(DistributionKind.TABLE, values=tuple(numbers), weights=weights)
    rises = all(first <= second for first, second in pairwise(shares))
    if not (rises and len(shares) > 1 and shares[0] == 0 and shares[-1] == 1):
        problems.add(f"{path}.cumulative", "out_of_range", "The curve must rise from exactly 0 to exactly 1.")
        return None
    return Distribution(DistributionKind.TABLE, values=tuple(numbers), cumulative=tuple(shares))


def _list(value: Any, path: str, problems: Problems) -> Sequence[Any]:
    if isinstance(value, list) and 0 < len(value) <= MAX_TABLE:
        return value
    problems.add(path, "wrong_type", f"This must be a list of 1 to {MAX_TABLE:,} entries.")
    return []
