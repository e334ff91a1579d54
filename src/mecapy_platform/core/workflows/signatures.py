"""What a graph may name: functions and workflows of others, as far as their ports and the judging of graphs go."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from mecapy_platform.core.types import TypeExpression, parse_type
from mecapy_platform.core.units import UnitSystem


@dataclass(frozen=True)
class Port:
    """One end of edges. `system`: the units in which named types of this end have their numbers."""

    type: TypeExpression
    system: UnitSystem = UnitSystem.SI
    required: bool = True


Ports = Mapping[str, Port]


@dataclass(frozen=True)
class FunctionSignature:
    """A function of one package version. `inputs` None: it has no typed ports, and `reason` says why."""

    id: UUID
    name: str
    package_version_id: UUID
    inputs: Ports | None
    outputs: Ports | None
    reason: str = ""
    is_yanked: bool = False


@dataclass(frozen=True)
class WorkflowSignature:
    """A version of a workflow. `depth`: how many workflows lie in one another below it; `contains`: those, by id."""

    id: UUID
    name: str
    workflow_id: UUID
    inputs: Ports
    outputs: Ports
    depth: int = 0
    contains: frozenset[UUID] = frozenset()
    is_archived: bool = False


@dataclass(frozen=True)
class Catalog:
    """What was found of the versions that a graph names."""

    functions: Mapping[UUID, FunctionSignature] = field(default_factory=dict)
    workflows: Mapping[UUID, WorkflowSignature] = field(default_factory=dict)


def parsed(expression: Any) -> TypeExpression:
    """A type as text or as a mapping; remembered. Raises InvalidInputError "type_invalid"."""
    return _parsed(expression if isinstance(expression, str) else json.dumps(expression), isinstance(expression, str))


@lru_cache(8192)
def _parsed(text: str, is_text: bool) -> TypeExpression:
    return parse_type(text if is_text else json.loads(text))


def ports_of_function(stored: Mapping[str, Mapping[str, Any]] | None, system: UnitSystem) -> Ports | None:
    """The ports that a function's row holds: {name: {type, required, ..}}."""
    if stored is None:
        return None
    return {name: Port(parsed(port["type"]), system, bool(port.get("required", True))) for name, port in stored.items()}
