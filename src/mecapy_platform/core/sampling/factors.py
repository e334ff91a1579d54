"""Reads the factors of a design: ranges, levels and distributions, each in one unit."""

import math
import re
from collections.abc import Mapping
from typing import Any

from mecapy_platform.core.sampling.distributions import read_distribution
from mecapy_platform.core.sampling.kinds import MAX_FACTORS, MAX_POINTS, DistributionKind, Spacing
from mecapy_platform.core.sampling.problems import Problems, is_number
from mecapy_platform.core.sampling.quantities import UnitOfFactor, read_quantity, split_range
from mecapy_platform.core.sampling.records import Factor
from mecapy_platform.core.units import QuantityError

NAME = re.compile(r"[^\W\d]\w{0,99}")
_FIELDS = {"unit", "low", "high", "nominal", "levels", "spacing", "whole"}


def read_factors(given: Any, problems: Problems, *, levels: bool, distributions: bool) -> tuple[Factor, ...]:
    """The factors of a document's `factors`; those with a problem are left out.

    Parameters
    ----------
    levels : whether a factor may list its levels
    distributions : whether a factor may scatter by a distribution
    """
    if not isinstance(given, Mapping) or not 0 < len(given) <= MAX_FACTORS:
        said = f"'factors' must be an object that names 1 to {MAX_FACTORS} factors, each with what it varies over."
        problems.add("factors", "wrong_type", said)
        return ()
    found = []
    for name, said in given.items():
        path = f"factors.{str(name)[:100]}"
        if not NAME.fullmatch(str(name)):
            problems.add(path, "bad_text", "The name of a factor is that of an input: letters, digits and _.")
            continue
        before = problems.count
        factor = _read_factor(str(name), said, path, problems)
        if factor is not None:
            _judge_kind(factor, path, problems, levels=levels, distributions=distributions)
        if factor is not None and problems.count == before:
            found.append(factor)
    return tuple(found)


def _judge_kind(factor: Factor, path: str, problems: Problems, *, levels: bool, distributions: bool) -> None:
    if factor.levels and not levels:
        problems.add(path, "factor_not_possible", "This design varies a range: give 'low' and 'high', no levels.")
    if factor.distribution and not distributions:
        said = "This design varies a range: give 'low' and 'high', no distribution."
        problems.add(path, "factor_not_possible", said)


def _read_factor(name: str, said: Any, path: str, problems: Problems) -> Factor | None:
    if isinstance(said, str) and (ends := split_range(said)):
        said = {"low": _with_unit(*ends), "high": ends[1]}
    elif isinstance(said, list):
        said = {"levels": said}
    if not isinstance(said, Mapping):
        message = (
            "Write a range such as '10 mm .. 20 mm', a list of levels, or an object; what stays fixed is no factor."
        )
        problems.add(path, "wrong_type", message)
        return None
    unit = UnitOfFactor(problems, path)
    unit.declare(said.get("unit"))
    if "distribution" in said:
        kind = problems.choice(said["distribution"], f"{path}.distribution", DistributionKind)
        distribution = kind and read_distribution(said, kind, unit, path, problems)
        return Factor(name, unit.unit, distribution=distribution) if distribution else None
    problems.known(said, path, {*_FIELDS, "distribution"})
    if isinstance(said.get("levels"), list):
        return _with_levels(name, said, unit, path, problems)
    return _with_range(name, said, unit, path, problems)


def _with_unit(low: str, high: str) -> str:
    """The first end of "10 .. 20 mm" is in millimetres too."""
    try:
        first, last = read_quantity(low), read_quantity(high)
    except QuantityError:
        return low
    return f"{low} {last.unit}" if first.unit is None and last.unit else low


def _with_levels(
    name: str, said: Mapping[str, Any], unit: UnitOfFactor, path: str, problems: Problems
) -> Factor | None:
    values = said["levels"]
    for key in {"low", "high", "nominal", "spacing", "whole"} & set(said):
        problems.add(f"{path}.{key}", "unknown_key", f"A factor that lists its levels has no {key!r}.")
    if not 0 < len(values) <= MAX_POINTS:
        problems.add(f"{path}.levels", "out_of_range", f"There must be 1 to {MAX_POINTS:,} levels.")
        return None
    if not _are_quantities(values):
        return Factor(name, levels=tuple(values))
    unit.look(values)
    numbers = [unit.number(value, f"{path}.levels[{place}]") for place, value in enumerate(values)]
    if any(isinstance(value, str) for value in values) or unit.unit is not None:
        return Factor(name, unit.unit, levels=tuple(numbers))
    return Factor(name, levels=tuple(values))


def _are_quantities(values: list[Any]) -> bool:
    """Whether all are numbers, or texts of a number and a unit. "S355" and "3" are words."""
    return all(is_number(value) or (isinstance(value, str) and _has_unit(value)) for value in values)


def _has_unit(text: str) -> bool:
    try:
        return read_quantity(text).unit is not None
    except QuantityError as error:
        return error.code == "unit_mismatch"


def _with_range(name: str, said: Mapping[str, Any], unit: UnitOfFactor, path: str, problems: Problems) -> Factor | None:
    missing = [key for key in ("low", "high") if key not in said]
    for key in missing:
        problems.add(f"{path}.{key}", "missing_field", f"A factor needs {key!r}, a list of levels or a distribution.")
    if missing:
        return None
    unit.look([said["low"], said["high"], said.get("nominal")])
    low, high = unit.number(said["low"], f"{path}.low"), unit.number(said["high"], f"{path}.high")
    nominal = unit.number(said["nominal"], f"{path}.nominal") if "nominal" in said else None
    steps = problems.whole(said["levels"], f"{path}.levels", 1, MAX_POINTS) if "levels" in said else None
    spacing = problems.choice(said["spacing"], f"{path}.spacing", Spacing) if "spacing" in said else Spacing.LINEAR
    whole = problems.flag(said["whole"], f"{path}.whole", default=False) if "whole" in said else False
    if low is None or high is None:
        return None
    if not low < high or not math.isfinite(high - low):
        problems.add(f"{path}.high", "out_of_range", "'high' must be above 'low'.")
    if nominal is not None and not low <= nominal <= high:
        problems.add(f"{path}.nominal", "out_of_range", "'nominal' must lie between 'low' and 'high'.")
    if spacing is Spacing.LOG and low <= 0:
        problems.add(f"{path}.low", "out_of_range", "Levels with logarithmic spacing need 'low' above 0.")
    if whole and math.ceil(low) > math.floor(high):
        problems.add(f"{path}.whole", "out_of_range", "There is no whole number between 'low' and 'high'.")
    return Factor(name, unit.unit, low, high, nominal, (), steps, spacing or Spacing.LINEAR, whole)
