"""Derived quantities and success criteria of a study: expressions over inputs and outputs of its function."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mecapy_platform.core.errors import InvalidInputError, Problem
from mecapy_platform.core.expressions import Checked, ExpressionError, check, parse
from mecapy_platform.core.types import NamedType, TypeExpression, contains_file, contains_object, parse_type
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.db.tables import Function
from mecapy_platform.services.studies.records import Options

BOOLEAN = NamedType("Boolean")
Expressions = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Computed:
    """Of one point: quantities by name, None where they cannot be computed for it; whether it meets all criteria.

    `success` is None where the study has no criteria, or the point no result.
    """

    derived: Mapping[str, Any]
    success: bool | None


@dataclass(frozen=True)
class Quantities:
    """The expressions of a study, judged for its function. Numbers are given in SI."""

    derived: Mapping[str, Checked]
    criteria: Mapping[str, Checked]

    def of(self, inputs: Mapping[str, Any] | None, result: Mapping[str, Any] | None) -> Computed:
        if result is None:
            return Computed(dict.fromkeys(self.derived), None)
        values = {**(inputs or {}), **result}
        derived = {name: _value(checked, values) for name, checked in self.derived.items()}
        if not self.criteria:
            return Computed(derived, None)
        return Computed(derived, all(_value(checked, values) is True for checked in self.criteria.values()))


def quantities_of(function: Function, options: Options) -> Quantities:
    """Raises InvalidInputError "expression_invalid" with every problem; an output hides an input of its name."""
    units = UnitSystem(str(function.options.get("units") or UnitSystem.SI))
    ports = {**(function.inputs or {}), **(function.outputs or {})}
    types = tuple(sorted((name, str(port["type"])) for name, port in ports.items()))
    derived, criteria = tuple(sorted(options.derived.items())), tuple(sorted(options.criteria.items()))
    return _judged(types, units, derived, criteria)


@lru_cache(256)
def _judged(
    ports: tuple[tuple[str, str], ...], units: UnitSystem, derived: Expressions, criteria: Expressions
) -> Quantities:
    kinds = {name: parse_type(text) for name, text in ports}
    types = {name: kind for name, kind in kinds.items() if not contains_file(kind) and not contains_object(kind)}
    problems: list[Problem] = []
    quantities = Quantities(
        {name: found for name, text in derived if (found := _checked("derived", name, text, types, units, problems))},
        {name: found for name, text in criteria if (found := _checked("criteria", name, text, types, units, problems))},
    )
    problems += [
        Problem(
            f"options.derived.{name}", "name_taken", f"{name} is an input or an output already; choose another name."
        )
        for name, _ in derived
        if name in kinds
    ]
    if problems:
        raise InvalidInputError("expression_invalid", problems[0].message, problems=problems)
    return quantities


def _checked(
    group: str, name: str, text: str, types: Mapping[str, TypeExpression], units: UnitSystem, problems: list[Problem]
) -> Checked | None:
    try:
        return check(parse(text), types, BOOLEAN if group == "criteria" else None, units)
    except ExpressionError as error:
        problems.append(Problem(f"options.{group}.{name}", error.code, error.message))
        return None


def _value(checked: Checked, values: Mapping[str, Any]) -> Any:
    try:
        return checked.evaluate(values)
    except ExpressionError:
        return None
