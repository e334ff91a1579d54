"""The statistics of a study in one look: an order in JSON and rows become an answer in JSON."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.sampling.design import parse_design
from mecapy_platform.core.sampling.kinds import MAX_POINTS, DrivenKind
from mecapy_platform.core.sampling.records import Design
from mecapy_platform.numerics.distributions import Array, Mask
from mecapy_platform.numerics.sample import Sample, judge_complete, read_columns, read_sample
from mecapy_platform.numerics.statistics import dependence, moments, sensitivity

PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Study:
    """What statistics are calculated of."""

    order: Mapping[str, Any]
    sample: Sample
    complete: Mask
    design: Design | None

    @property
    def confidence(self) -> float:
        return float(self.order.get("confidence", CONFIDENCE))

    def names(self, role: str) -> list[str]:
        return [said["name"] for said in self.order["columns"] if role_of(said) == role]

    def used(self, name: str) -> Array:
        """The values of a column at whole points."""
        return self.sample.values[name][self.complete]

    def drawn(self) -> Design:
        if self.design is None:
            raise InvalidInputError("design_not_fitting", "This needs the design of the study.")
        return self.design


def role_of(column: Mapping[str, Any]) -> str:
    """`input`, `output` or `criterion` (something that holds or does not)."""
    return str(column.get("role") or ("input" if column.get("of") == "inputs" else "output"))


def analyse(order: Mapping[str, Any], lines: Iterable[bytes]) -> dict[str, Any]:
    """What `order["wanted"]` names, as JSON. docs/reference/study-statistics.md says what each is.

    Raises
    ------
    InvalidInputError
        "statistics_invalid", "columns_invalid", "sample_incomplete", "sample_empty", "sample_too_small",
        "regression_impossible", "design_not_fitting", and the codes of expressions.
    """
    wanted = _wanted(order)
    study = read_study(order, lines)
    found = {name: WANTED[name](study) for name in wanted}
    answer = {"points": study.sample.points, "used": int(study.complete.sum()), "left_out": dict(study.sample.missing)}
    told: dict[str, Any] = plain({**answer, "confidence": study.confidence, **found})
    return told


def read_study(order: Mapping[str, Any], lines: Iterable[bytes]) -> Study:
    """Reads and judges; also what plots and tables begin with."""
    points = order.get("points")
    if not isinstance(points, int) or not 0 < points <= MAX_POINTS:
        raise InvalidInputError("statistics_invalid", f"'points' must be from 1 to {MAX_POINTS:,}.")
    confidence = order.get("confidence", CONFIDENCE)
    if not isinstance(confidence, int | float) or not 0.5 <= confidence < 1:
        raise InvalidInputError("statistics_invalid", "'confidence' must be from 0.5 to below 1.")
    columns = read_columns(order["columns"], order.get("types", {}), order.get("units", "SI"))
    sample = read_sample(lines, columns, points)
    complete = judge_complete(sample, leave_out=order.get("incomplete") == "leave_out")
    said = order.get("design") or {}
    design = parse_design(said, new_seed=0) if said and said.get("kind") not in set(DrivenKind) else None
    return Study(order, sample, complete, design)


def plain(value: Any) -> Any:
    """JSON: what is not finite is null."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _wanted(order: Mapping[str, Any]) -> list[str]:
    wanted = order.get("wanted", ["moments"])
    if (
        not isinstance(wanted, list)
        or not wanted
        or not all(isinstance(name, str) and name in WANTED for name in wanted)
    ):
        raise InvalidInputError("statistics_invalid", f"'wanted' must name some of: {', '.join(WANTED)}.")
    return wanted


def _each_output(calculate: Callable[[Study, Array], Any]) -> Callable[[Study], Any]:
    return lambda study: {name: calculate(study, study.used(name)) for name in study.names("output")}


def _quantiles(study: Study, values: Array) -> Any:
    probabilities = study.order.get("probabilities") or PROBABILITIES
    is_list = isinstance(probabilities, list | tuple) and len(probabilities) <= 100
    if not is_list or not all(isinstance(share, int | float) and 0 < share < 1 for share in probabilities):
        raise InvalidInputError("statistics_invalid", "'probabilities' must be at most 100 numbers between 0 and 1.")
    return moments.quantiles(values, probabilities, study.confidence)


def bins_of(study: Study) -> int | None:
    bins = study.order.get("bins")
    if bins is not None and not (isinstance(bins, int) and 0 < bins <= moments.MAX_BINS):
        raise InvalidInputError("statistics_invalid", f"'bins' must be from 1 to {moments.MAX_BINS}.")
    return bins


def _success(study: Study) -> Any:
    return {name: moments.proportion(study.used(name), study.confidence) for name in study.names("criterion")}


def _correlation(study: Study) -> Any:
    names = study.names("input") + study.names("output")
    return dependence.correlation({name: study.used(name) for name in names}, study.confidence)


def _regression(study: Study, values: Array) -> Any:
    inputs = {name: study.used(name) for name in study.names("input")}
    if not inputs:
        raise InvalidInputError("regression_impossible", "Regression needs columns of inputs.")
    quadratic = bool(study.order.get("quadratic"))
    return dependence.regression(inputs, values, study.confidence, quadratic=quadratic)


def _structured(calculate: Callable[[Design, Array, float], Any]) -> Callable[[Study], Any]:
    """Of all points in their places, those without a value as NaN."""
    return lambda study: {
        name: calculate(study.drawn(), study.sample.values[name], study.confidence) for name in study.names("output")
    }


def _morris(study: Study) -> Any:
    inputs = {name: study.sample.values[name] for name in study.names("input")}
    return {
        name: sensitivity.morris(study.drawn(), study.sample.values[name], study.confidence, inputs)
        for name in study.names("output")
    }


def _effects(study: Study, values: Array) -> Any:
    design = study.drawn()
    inputs = np.stack([study.used(factor.name) for factor in design.factors], axis=1)
    return sensitivity.main_effects(design, inputs, values)


def _pareto(study: Study) -> Any:
    objectives = objectives_of(study)
    names = [said["name"] for said in objectives]
    feasible = study.complete.copy()
    for name in study.names("criterion"):
        feasible &= study.sample.values[name] != 0
    costs = np.stack([study.sample.values[name] for name in names], axis=1)
    front = dependence.pareto(costs, [said.get("goal") == "maximise" for said in objectives], feasible)
    return {"objectives": names, "indices": front, "values": costs[front].tolist()}


def objectives_of(study: Study) -> list[Mapping[str, Any]]:
    """As {"name": column, "goal": "minimise" or "maximise"} each."""
    said = study.order.get("objectives")
    given = [each for each in said if isinstance(each, Mapping)] if isinstance(said, list) else []
    if not given or not all(str(each.get("name")) in study.sample.values for each in given):
        raise InvalidInputError("statistics_invalid", "'objectives' must name columns, each with its goal.")
    return given


WANTED: dict[str, Callable[[Study], Any]] = {
    "moments": _each_output(lambda study, values: moments.moments(values, study.confidence)),
    "quantiles": _each_output(_quantiles),
    "histogram": _each_output(lambda study, values: moments.histogram(values, bins_of(study))),
    "success": _success,
    "correlation": _correlation,
    "regression": _each_output(_regression),
    "effects": _each_output(_effects),
    "sobol": _structured(sensitivity.sobol),
    "morris": _morris,
    "tornado": _structured(lambda design, values, _: sensitivity.tornado(design, values)),
    "pareto": _pareto,
}
