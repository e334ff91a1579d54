"""What is wrong with a graph: each fault with the node, the port or field, a stable code, and a sentence."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mecapy_platform.core.errors import Problem


@dataclass(frozen=True)
class GraphProblem:
    """A fault at a node (by key) or an edge (by its place in the list); of the whole graph where both are None.

    `details`: what else a program wants to know, such as both types of an edge and what would mend it.
    """

    code: str
    message: str
    node: str | None = None
    port: str | None = None
    field: str | None = None
    edge: int | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it is, as errors of a request name places: `nodes.beam.over`, `edges.3.target_port`."""
        place = [] if self.node is None else ["nodes", self.node]
        if self.edge is not None:
            place = ["edges", str(self.edge)]
        return ".".join([*place, *(part for part in (self.port, self.field) if part)])

    def as_problem(self) -> Problem:
        return Problem(self.path[:500], self.code, self.message)

    def as_dict(self) -> dict[str, Any]:
        """Without what does not apply."""
        form = {
            "code": self.code,
            "message": self.message,
            "node_key": self.node,
            "port": self.port,
            "field": self.field,
            "edge": self.edge,
        }
        return {name: value for name, value in form.items() if value is not None} | dict(self.details)
