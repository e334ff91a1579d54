"""Expressions of nodes on the values that their ports got."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.expressions import Checked, check, parse
from mecapy_platform.core.types import NamedType, TypeExpression
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.workflows.ports import INTEGER
from mecapy_platform.core.workflows.signatures import Port, Ports

BOOLEAN = NamedType("Boolean")
ITERATION = "iteration"


def value_of(text: str, ports: Ports, values: Mapping[str, Any], wanted: TypeExpression | None) -> Any:
    """Raises ExpressionError, which is a MecapyError."""
    system = next((port.system for port in ports.values()), UnitSystem.SI)
    types = tuple((name, port.type) for name, port in ports.items())
    return _checked(text, types, wanted, system).evaluate(values)


def holds(text: str, ports: Ports, values: Mapping[str, Any], *, iteration: int | None = None) -> bool:
    """Whether a condition holds. `iteration`: of a loop, counted from 1, which its condition may read."""
    if iteration is not None and ITERATION not in ports:
        ports, values = {**ports, ITERATION: _iteration(ports)}, {**values, ITERATION: iteration}
    found = value_of(text, ports, values, BOOLEAN)
    if not isinstance(found, bool):
        raise InvalidInputError("expression_wrong_type", f"{text[:200]!r} is neither true nor false.")
    return found


def _iteration(ports: Ports) -> Port:
    return Port(INTEGER, next((port.system for port in ports.values()), UnitSystem.SI))


@lru_cache(1024)
def _checked(
    text: str, types: tuple[tuple[str, TypeExpression], ...], wanted: TypeExpression | None, system: UnitSystem
) -> Checked:
    return check(parse(text), dict(types), wanted, system)
