"""Reads driven studies, whose next points follow from results: optimisation, roots, convergence, reliability."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mecapy_platform.core.sampling import kinds
from mecapy_platform.core.sampling.correlation import read_correlation
from mecapy_platform.core.sampling.factors import read_factors
from mecapy_platform.core.sampling.kinds import MAX_POINTS, DrivenKind
from mecapy_platform.core.sampling.problems import Problems
from mecapy_platform.core.sampling.quantities import read_quantity
from mecapy_platform.core.sampling.records import Factor
from mecapy_platform.core.units import QuantityError, read_unit

MAX_OBJECTIVES = 5
MAX_CONSTRAINTS = 50
MAX_EXPRESSION = 2_000


class Goal(StrEnum):
    MINIMISE = "minimise"
    MAXIMISE = "maximise"


class Method(StrEnum):
    """COBYQA: smooth, few points, singly. Differential evolution: many hills. NSGA-II: several objectives."""

    COBYQA = "cobyqa"
    DIFFERENTIAL_EVOLUTION = "differential_evolution"
    NSGA2 = "nsga2"


@dataclass(frozen=True)
class Objective:
    """An expression over a point's inputs and outputs, evaluated by whoever records the point."""

    expression: str
    goal: Goal = Goal.MINIMISE


@dataclass(frozen=True)
class Constraint:
    """`expression` is to be at least and at most so much, in SI."""

    expression: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Driven:
    """A driven study. Fields that its kind does not use stay as they are by default.

    Attributes
    ----------
    values : expressions that each recorded point gives as numbers, in this order: objectives, constraints
    points : the most points that may be asked for
    population : points asked for at once
    method : of an optimisation
    target : of root finding: what the expression shall be, in SI
    tolerance : root finding: of the factor, relative to its range; convergence: relative to the extrapolated value;
        optimisation: relative spread at which a search ends
    ratio : of convergence: how much finer each step is, above 1
    grows : of convergence: the factor grows with refinement (a number of elements), not with the step
    sampling_points : of reliability: how many points importance sampling draws after FORM; 0 for FORM alone
    """

    kind: DrivenKind
    factors: tuple[Factor, ...]
    objectives: tuple[Objective, ...]
    seed: int
    points: int
    constraints: tuple[Constraint, ...] = ()
    method: Method | None = None
    population: int = 1
    tolerance: float = 1e-6
    target: float = 0.0
    ratio: float = 2.0
    grows: bool = False
    correlation: tuple[tuple[float, ...], ...] = ()
    sampling_points: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.factors)

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(each.expression for each in self.objectives) + tuple(each.expression for each in self.constraints)


_FIELDS = {
    DrivenKind.OPTIMISATION: {"objectives", "constraints", "method", "population"},
    DrivenKind.ROOT_FINDING: {"expression", "target"},
    DrivenKind.CONVERGENCE: {"expression", "ratio", "grows"},
    DrivenKind.RELIABILITY: {"expression", "correlation", "sampling_points"},
}
_POINTS = {
    DrivenKind.OPTIMISATION: 1_000,
    DrivenKind.ROOT_FINDING: 100,
    DrivenKind.CONVERGENCE: 8,
    DrivenKind.RELIABILITY: 5_000,
}
_TOLERANCES = {
    DrivenKind.OPTIMISATION: 1e-4,
    DrivenKind.ROOT_FINDING: 1e-6,
    DrivenKind.CONVERGENCE: 0.01,
    DrivenKind.RELIABILITY: 1e-3,
}


def parse_driven(document: Any, *, new_seed: int) -> Driven:
    """The driven study that a document describes. `new_seed` as of `parse_design`.

    Raises
    ------
    InvalidInputError
        "design_invalid" with every problem, each at its path.
    """
    problems = Problems()
    given = problems.mapping(document, "design")
    kind = problems.choice(given.get("kind"), "kind", DrivenKind)
    problems.refuse("design_invalid", "This study cannot be driven.")
    assert kind is not None
    problems.known(given, "", {"kind", "factors", "seed", "points", "tolerance", *_FIELDS[kind]})
    scatters = kind is DrivenKind.RELIABILITY
    factors = read_factors(given.get("factors"), problems, levels=False, distributions=scatters)
    seed = problems.whole(given["seed"], "seed", 0, kinds.MAX_SEED) if "seed" in given else new_seed
    points = problems.whole(given.get("points", _usual_points(kind, given)), "points", 1, MAX_POINTS)
    tolerance = problems.real(given.get("tolerance", _TOLERANCES[kind]), "tolerance", least=1e-12, most=1)
    common = {"kind": kind, "factors": factors, "seed": seed, "points": points, "tolerance": tolerance}
    driven = _read(kind, given, common, problems)
    if problems.count == 0:
        _judge(driven, problems)
    problems.refuse("design_invalid", "This study cannot be driven.")
    return driven


def _usual_points(kind: DrivenKind, given: Mapping[str, Any]) -> int:
    sampling = given.get("sampling_points")
    return min(MAX_POINTS, _POINTS[kind] + (sampling if isinstance(sampling, int) and sampling > 0 else 0))


def document_of(driven: Driven) -> dict[str, Any]:
    """JSON that `parse_driven` reads as the same study."""
    said: dict[str, Any] = {
        "kind": str(driven.kind),
        "factors": {factor.name: factor.as_dict() for factor in driven.factors},
        "seed": driven.seed,
        "points": driven.points,
        "tolerance": driven.tolerance,
    }
    if driven.kind is DrivenKind.OPTIMISATION:
        said["objectives"] = [{"expression": each.expression, "goal": str(each.goal)} for each in driven.objectives]
        said["constraints"] = [
            {name: value for name, value in vars(each).items() if value is not None} for each in driven.constraints
        ]
        said |= {"method": str(driven.method), "population": driven.population}
    else:
        said["expression"] = driven.objectives[0].expression
    for name in {"target", "ratio", "grows", "sampling_points"} & _FIELDS[driven.kind]:
        said[name] = getattr(driven, name)
    if driven.correlation:
        said["correlation"] = [list(row) for row in driven.correlation]
    return said


def _read(kind: DrivenKind, given: Mapping[str, Any], common: dict[str, Any], problems: Problems) -> Driven:
    if kind is DrivenKind.OPTIMISATION:
        return _optimisation(given, common, problems)
    common["objectives"] = (Objective(problems.text(given.get("expression"), "expression", MAX_EXPRESSION)),)
    match kind:
        case DrivenKind.ROOT_FINDING:
            return Driven(**common, target=_limit(given.get("target", 0), "target", problems) or 0.0)
        case DrivenKind.CONVERGENCE:
            ratio = problems.real(given.get("ratio", 2.0), "ratio", least=1.1, most=10)
            grows = problems.flag(given.get("grows", False), "grows", default=False)
            return Driven(**common, ratio=ratio, grows=grows)
    names = tuple(factor.name for factor in common["factors"])
    rows = given.get("correlation")
    correlation = read_correlation(rows, names, problems) if rows is not None and problems.count == 0 else ()
    sampling = problems.whole(given.get("sampling_points", 0), "sampling_points", 0, MAX_POINTS)
    return Driven(**common, correlation=correlation, sampling_points=sampling)


def _optimisation(given: Mapping[str, Any], common: dict[str, Any], problems: Problems) -> Driven:
    objectives = tuple(
        _objective(said, f"objectives[{place}]", problems)
        for place, said in enumerate(_list(given.get("objectives"), "objectives", 1, MAX_OBJECTIVES, problems))
    )
    constraints = tuple(
        _constraint(said, f"constraints[{place}]", problems)
        for place, said in enumerate(_list(given.get("constraints", []), "constraints", 0, MAX_CONSTRAINTS, problems))
    )
    method = problems.choice(given["method"], "method", Method) if "method" in given else None
    if method is None:
        method = Method.NSGA2 if len(objectives) > 1 else Method.DIFFERENTIAL_EVOLUTION
    usual = 1 if method is Method.COBYQA else max(20, 10 * len(common["factors"]))
    population = problems.whole(given.get("population", usual), "population", 1, 1_000, usual)
    return Driven(**common, objectives=objectives, constraints=constraints, method=method, population=population)


def _objective(said: Any, path: str, problems: Problems) -> Objective:
    given = problems.mapping(said, path)
    problems.known(given, path, {"expression", "goal"})
    expression = problems.text(given.get("expression"), f"{path}.expression", MAX_EXPRESSION)
    goal = problems.choice(given.get("goal", Goal.MINIMISE), f"{path}.goal", Goal)
    return Objective(expression, goal or Goal.MINIMISE)


def _constraint(said: Any, path: str, problems: Problems) -> Constraint:
    given = problems.mapping(said, path)
    problems.known(given, path, {"expression", "at_least", "at_most"})
    expression = problems.text(given.get("expression"), f"{path}.expression", MAX_EXPRESSION)
    ends = [_limit(given[key], f"{path}.{key}", problems) if key in given else None for key in ("at_least", "at_most")]
    if "at_least" not in given and "at_most" not in given:
        problems.add(path, "missing_field", "A constraint needs 'at_least', 'at_most' or both.")
    if ends[0] is not None and ends[1] is not None and ends[0] >= ends[1]:
        problems.add(
            f"{path}.at_most", "out_of_range", "'at_most' must be above 'at_least'; no method here meets equality."
        )
    return Constraint(expression, ends[0], ends[1])


def _limit(value: Any, path: str, problems: Problems) -> float | None:
    """A number in SI, from a number or a text with a unit."""
    try:
        quantity = read_quantity(value)
        unit = read_unit(quantity.unit) if quantity.unit else None
        return float(quantity.number * unit.factor + unit.offset if unit else quantity.number)
    except (QuantityError, OverflowError) as error:
        problems.add(path, getattr(error, "code", "not_finite"), str(error))
        return None


def _list(given: Any, path: str, least: int, most: int, problems: Problems) -> list[Any]:
    if isinstance(given, list) and least <= len(given) <= most:
        return given
    problems.add(path, "wrong_type", f"This must be a list of {least} to {most} entries.")
    return []


def _judge(driven: Driven, problems: Problems) -> None:
    """What can be said of the whole alone."""
    several = len(driven.objectives) > 1
    if driven.kind is DrivenKind.OPTIMISATION and several != (driven.method is Method.NSGA2):
        said = "NSGA-II is for several objectives, the other methods for a single objective."
        problems.add("method", "not_allowed", said)
    if driven.method is Method.NSGA2 and driven.population < 4:
        problems.add("population", "out_of_range", "NSGA-II needs a population of at least 4.")
    if driven.method is Method.DIFFERENTIAL_EVOLUTION and driven.population < 5:
        problems.add("population", "out_of_range", "Differential evolution needs a population of at least 5.")
    wholes = [factor.name for factor in driven.factors if factor.whole]
    keeps = driven.kind is DrivenKind.CONVERGENCE or (driven.method and driven.method is not Method.COBYQA)
    if wholes and not keeps:
        problems.add(f"factors.{wholes[0]}.whole", "factor_not_possible", "This method does not keep to whole numbers.")
    for factor in driven.factors:
        if factor.steps:
            problems.add(f"factors.{factor.name}.levels", "factor_not_possible", "A driven study has no levels.")
    _judge_by_kind(driven, problems)


def _judge_by_kind(driven: Driven, problems: Problems) -> None:
    alone = driven.kind in {DrivenKind.ROOT_FINDING, DrivenKind.CONVERGENCE}
    if alone and len(driven.factors) != 1:
        problems.add("factors", "factor_not_possible", f"A study of kind {driven.kind} varies exactly one factor.")
    elif driven.kind is DrivenKind.CONVERGENCE and (driven.factors[0].low or 0) <= 0:
        said = "A size or a number that is refined must be above 0."
        problems.add(f"factors.{driven.factors[0].name}.low", "out_of_range", said)
    if driven.kind is DrivenKind.RELIABILITY:
        for factor in driven.factors:
            if factor.distribution and factor.distribution.weights:
                said = "Reliability needs a continuous distribution; give the table as 'cumulative'."
                problems.add(f"factors.{factor.name}", "factor_not_possible", said)
