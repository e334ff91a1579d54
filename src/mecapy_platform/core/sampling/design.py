"""Reads a design of experiments from JSON, writes it back with nothing left to be guessed, and adds points to it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mecapy_platform.core.errors import ConflictError
from mecapy_platform.core.sampling import kinds
from mecapy_platform.core.sampling.correlation import read_correlation
from mecapy_platform.core.sampling.counts import count_of
from mecapy_platform.core.sampling.csv_reading import read_csv
from mecapy_platform.core.sampling.factors import NAME, read_factors
from mecapy_platform.core.sampling.fractional import generators_for, read_generators, resolution
from mecapy_platform.core.sampling.kinds import MAX_FACTORS, MAX_POINTS, DesignKind, Variant
from mecapy_platform.core.sampling.problems import Problems
from mecapy_platform.core.sampling.records import Design

MAX_CENTRE_POINTS = 1_000
MAX_GRID_LEVELS = 100
_CENTRE = ("centre_points",)
_SAMPLED = ("points", "seed")
_SEQUENCE = (*_SAMPLED, "scrambled", "correlation")
_FIELDS: dict[DesignKind, tuple[str, ...]] = {
    DesignKind.GRID: (),
    DesignKind.LIST: ("points",),
    DesignKind.CSV: ("text", "points"),
    DesignKind.ONE_AT_A_TIME: (),
    DesignKind.FULL_FACTORIAL: _CENTRE,
    DesignKind.FRACTIONAL_FACTORIAL: ("generators", "resolution", *_CENTRE),
    DesignKind.PLACKETT_BURMAN: _CENTRE,
    DesignKind.CENTRAL_COMPOSITE: ("alpha", "variant", *_CENTRE),
    DesignKind.LATIN_HYPERCUBE: (*_SAMPLED, "optimised"),
    DesignKind.SOBOL: _SEQUENCE,
    DesignKind.HALTON: _SEQUENCE,
    DesignKind.SOBOL_INDICES: ("base_points", "seed"),
    DesignKind.MORRIS: ("trajectories", "grid_levels", "seed"),
    DesignKind.MONTE_CARLO: (*_SAMPLED, "correlation"),
}
_COUNTS = {DesignKind.SOBOL_INDICES: "base_points", DesignKind.MORRIS: "trajectories"}


def parse_design(document: Any, *, new_seed: int) -> Design:
    """The design that a document describes.

    Parameters
    ----------
    document : JSON, see docs/reference/designs.md
    new_seed : the seed of a random design whose document names none, 0 to 2^53 - 1

    Raises
    ------
    InvalidInputError
        "design_invalid" with every problem, each at its path.
    """
    problems = Problems()
    given = problems.mapping(document, "design")
    kind = problems.choice(given.get("kind"), "kind", DesignKind)
    problems.refuse("design_invalid", "This design cannot be drawn.")
    assert kind is not None
    problems.known(given, "", {"kind", "notes", *_FIELDS[kind], *(() if kind in kinds.LISTED else ("factors",))})
    design = _read_listed(kind, given, problems) if kind in kinds.LISTED else _read(kind, given, problems, new_seed)
    if problems.count == 0:
        _judge(design, problems)
    problems.refuse("design_invalid", "This design cannot be drawn.")
    return design


def document_of(design: Design) -> dict[str, Any]:
    """JSON that `parse_design` reads as the same design, whatever the clock, the machine or the random numbers."""
    said: dict[str, Any] = {"kind": str(design.kind)}
    if design.kind in kinds.LISTED:
        said["points"] = [dict(row) for row in design.rows]
    else:
        said["factors"] = {factor.name: factor.as_dict() for factor in design.factors}
    fields = _FIELDS[design.kind]
    plain = {name: getattr(design, name) for name in fields if name in {*_SAMPLED, "scrambled", "optimised", "alpha"}}
    said |= {name: value for name, value in plain.items() if name not in said}
    said |= {name: getattr(design, name) for name in fields if name in {"grid_levels", *_CENTRE}}
    if design.kind in _COUNTS:
        said[_COUNTS[design.kind]] = design.points
    if "variant" in fields:
        said["variant"] = str(design.variant)
    if design.correlation:
        said["correlation"] = [list(row) for row in design.correlation]
    if design.generators:
        words = {name: ("-" if sign < 0 else "") + "*".join(word) for name, (sign, word) in design.generators.items()}
        said["generators"] = words
    return said | ({"notes": list(design.notes)} if design.notes else {})


def add_points(design: Design, addition: Any) -> Design:
    """The design with more points; those that it had keep their places and values.

    Parameters
    ----------
    addition : {"points": 500} of a sampled design, {"points": [{..}, ..]} of a list, {"text": ..} of a CSV

    Raises
    ------
    ConflictError
        "points_not_added" for a design that is whole as it is.
    InvalidInputError
        "design_invalid" with every problem.
    """
    if design.kind not in kinds.GROWING:
        may = ", ".join(sorted(kinds.GROWING))
        said = f"A design of kind {design.kind} is whole as it is. Points can be added to: {may}. Make a new study."
        raise ConflictError("points_not_added", said)
    problems = Problems()
    given = problems.mapping(addition, "addition")
    if design.kind in kinds.LISTED:
        problems.known(given, "", _FIELDS[design.kind])
        more = _read_listed(design.kind, given, problems)
        if more.rows and set(more.rows[0]) != set(design.names):
            said = f"Added points need the same inputs: {', '.join(design.names)}."
            problems.add("points", "missing_field", said)
        grown = replace(design, rows=(*design.rows, *more.rows), notes=more.notes)
    else:
        problems.known(given, "", ("points",))
        wanted = problems.whole(given.get("points"), "points", 1, MAX_POINTS)
        grown = replace(design, points=design.points + wanted)
    if problems.count == 0:
        _judge(grown, problems)
    problems.refuse("design_invalid", "These points cannot be added.")
    return grown


def _read(kind: DesignKind, given: Mapping[str, Any], problems: Problems, new_seed: int) -> Design:
    factors = read_factors(
        given.get("factors"),
        problems,
        levels=kind in kinds.WITH_LEVELS or kind is DesignKind.ONE_AT_A_TIME,
        distributions=kind in kinds.WITH_DISTRIBUTIONS,
    )
    design = Design(kind, factors)
    if kind is DesignKind.ONE_AT_A_TIME:
        for factor in factors:
            if factor.levels:
                said = "One at a time needs 'low', 'high' and, where it is not the middle, 'nominal'."
                problems.add(f"factors.{factor.name}", "factor_not_possible", said)
    if kind in kinds.RANDOM:
        name = _COUNTS.get(kind, "points")
        points = problems.whole(given.get(name), name, 1, MAX_POINTS)
        seed = problems.whole(given["seed"], "seed", 0, kinds.MAX_SEED) if "seed" in given else new_seed
        design = replace(design, points=points, seed=seed)
    for name, read in _READERS.items():
        if name in _FIELDS[kind] and given.get(name) is not None:
            design = read(design, given[name], problems)
    if kind is DesignKind.FRACTIONAL_FACTORIAL and not given.get("generators"):
        design = _with_resolution(design, given.get("resolution", 3), problems)
    if kind is DesignKind.CENTRAL_COMPOSITE and "alpha" not in given:
        design = replace(design, alpha=_rotatable(design))
    return design


def _read_listed(kind: DesignKind, given: Mapping[str, Any], problems: Problems) -> Design:
    if kind is DesignKind.CSV and "text" in given:
        text = given["text"]
        if not isinstance(text, str | bytes):
            problems.add("text", "wrong_type", "This must be the text of a CSV.")
            return Design(kind)
        rows, notes = read_csv(text, problems)
        return Design(kind, rows=rows, notes=notes)
    points = given.get("points")
    if not isinstance(points, list) or not points:
        problems.add("points", "wrong_type", "This must be a list of points, each an object of inputs.")
        return Design(kind)
    if len(points) > MAX_POINTS:
        problems.add("points", "design_too_large", f"A study has at most {MAX_POINTS:,} points.")
        return Design(kind)
    first = points[0] if isinstance(points[0], Mapping) else {}
    if not 0 < len(first) <= MAX_FACTORS or not all(NAME.fullmatch(str(name)) for name in first):
        problems.add("points[0]", "wrong_type", f"A point is an object with 1 to {MAX_FACTORS} inputs by their names.")
        return Design(kind)
    for place, point in enumerate(points):
        if not isinstance(point, Mapping) or point.keys() != first.keys():
            said = f"Each point needs the same inputs as the first: {', '.join(first)}."
            problems.add(f"points[{place}]", "missing_field", said)
    notes = tuple(str(note) for note in given.get("notes") or ())
    return Design(kind, rows=tuple(points) if problems.count == 0 else (), notes=notes)


def _judge(design: Design, problems: Problems) -> None:
    """What can be said of the whole alone."""
    count = count_of(design)
    if count > MAX_POINTS:
        said = (
            f"This design has {count:,} points; a study has at most {MAX_POINTS:,}."
            if count < 10**15
            else (f"This design has more than 10^15 points; a study has at most {MAX_POINTS:,}.")
        )
        problems.add("points", "design_too_large", said)
    if design.optimised and design.points > kinds.MAX_OPTIMISED_POINTS:
        said = f"A Latin hypercube is optimised up to {kinds.MAX_OPTIMISED_POINTS:,} points; leave 'optimised' out."
        problems.add("points", "design_too_large", said)
    if design.centre_points and any(factor.levels for factor in design.factors):
        problems.add("centre_points", "factor_not_possible", "Listed levels have no centre; give ranges.")
    if any(factor.whole for factor in design.factors):
        problems.add("factors", "factor_not_possible", "'whole' belongs to optimisation; list whole levels instead.")


def _with_generators(design: Design, given: Any, problems: Problems) -> Design:
    names = [factor.name for factor in design.factors]
    found = read_generators(problems.mapping(given, "generators"), names, problems)
    return replace(design, generators=found)


def _with_resolution(design: Design, given: Any, problems: Problems) -> Design:
    least = problems.whole(given, "resolution", 3, 8, 3)
    names = [factor.name for factor in design.factors]
    found = generators_for(names, least) if problems.count == 0 else {}
    if found is None:
        said = f"No fraction of {len(names)} factors has resolution {least}; take a full factorial, or a lower one."
        problems.add("resolution", "generator_impossible", said)
        return design
    notes = (f"Resolution {resolution(names, found)}.",) if found else ()
    return replace(design, generators=found, notes=notes)


def _rotatable(design: Design) -> float:
    return 1.0 if design.variant is Variant.FACED else float(2 ** (len(design.factors) / 4))


def _with_alpha(design: Design, given: Any, problems: Problems) -> Design:
    if given == "rotatable":
        return replace(design, alpha=_rotatable(design))
    if given == "spherical":
        return replace(design, alpha=float(max(1, len(design.factors)) ** 0.5))
    return replace(design, alpha=problems.real(given, "alpha", least=1, most=10))


def _with_variant(design: Design, given: Any, problems: Problems) -> Design:
    return replace(design, variant=problems.choice(given, "variant", Variant) or Variant.CIRCUMSCRIBED)


def _with_grid_levels(design: Design, given: Any, problems: Problems) -> Design:
    found = problems.whole(given, "grid_levels", 2, MAX_GRID_LEVELS, 4)
    if found % 2:
        problems.add("grid_levels", "out_of_range", "The number of grid levels must be even.")
    return replace(design, grid_levels=found)


def _with_correlation(design: Design, given: Any, problems: Problems) -> Design:
    if problems.count:
        return design
    return replace(design, correlation=read_correlation(given, design.names, problems))


_READERS: dict[str, Callable[[Design, Any, Problems], Design]] = {
    "generators": _with_generators,
    "centre_points": lambda design, given, problems: replace(
        design, centre_points=problems.whole(given, "centre_points", 0, MAX_CENTRE_POINTS)
    ),
    "variant": _with_variant,
    "alpha": _with_alpha,
    "optimised": lambda design, given, problems: replace(
        design, optimised=problems.flag(given, "optimised", default=False)
    ),
    "scrambled": lambda design, given, problems: replace(
        design, scrambled=problems.flag(given, "scrambled", default=True)
    ),
    "grid_levels": _with_grid_levels,
    "correlation": _with_correlation,
}
