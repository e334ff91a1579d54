"""A graph as records: what a version of a workflow holds once it has been read. Immutable, without I/O.

`NodeKind.FUNCTION` and `NodeKind.INPUT` are the published kinds; all others are additional values of `node_kind`. What
a node consumes and gives (its ports) depends on the functions that it names: see core/workflows/ports.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

MAX_NODES = 5_000
MAX_ITEMS = 50_000
MAX_NESTING = 8
MAX_GRAPH_BYTES = 4 << 20
MAX_ROWS = 200_000  # of nodes and items, a run
INPUT_PORT = "value"  # the published name of an input node's output; constants and expressions use it too


class NodeKind(StrEnum):
    FUNCTION = "function"
    INPUT = "input"
    CONSTANT = "constant"
    EXPRESSION = "expression"
    ASSUME_UNIT = "assume_unit"
    WORKFLOW = "workflow"
    MAP = "map"
    IF = "if"
    SWITCH = "switch"
    LOOP = "loop"
    APPROVAL = "approval"
    DELAY = "delay"


PUBLISHED_KINDS = frozenset({NodeKind.FUNCTION, NodeKind.INPUT})
AT_ONCE = frozenset({NodeKind.INPUT, NodeKind.CONSTANT, NodeKind.EXPRESSION, NodeKind.ASSUME_UNIT})
WITH_BODIES = frozenset(
    {NodeKind.FUNCTION, NodeKind.WORKFLOW, NodeKind.MAP, NodeKind.IF, NodeKind.SWITCH, NodeKind.LOOP}
)


@dataclass(frozen=True)
class Body:
    """What a node executes: one version of a function, or one of a workflow. Exactly one of the two is set."""

    function_version_id: UUID | None = None
    workflow_version_id: UUID | None = None


@dataclass(frozen=True)
class Case:
    """A branch: the body that runs where the expression holds; without an expression, in all other cases."""

    when: str | None
    body: Body | None


class ItemFailure(StrEnum):
    """What a failed item does to its map."""

    FAIL = "fail"  # the map fails, nothing further is started
    SKIP = "skip"  # its place is left out of the lists
    NULL = "null"  # its place holds null


@dataclass(frozen=True)
class InputSpec:
    """What a person gives: the published `input_spec`."""

    label: str
    type_expr: Any
    description: str | None = None
    required: bool = True
    default: Any = None


@dataclass(frozen=True)
class RetryRule:
    """Further tries of a node whose call failed. `on`: kinds of failure, as in a manifest's `retries`."""

    max: int = 0
    backoff_seconds: float = 1.0
    jitter: float = 0.1
    on: tuple[str, ...] = ("user_error", "timeout", "out_of_memory", "lost_machine")


@dataclass(frozen=True)
class Node:
    """One node. Fields that its kind does not use stay as they are by default.

    Attributes
    ----------
    key : unique in its graph
    bodies : of a function, workflow, map or loop one; of an `if` two (the second may be None); of a `switch` its cases
    value : of a constant
    type_expr : of a constant, an expression or an `assume_unit`: the type of its output `value`
    ports : of an expression, an `if` or a `switch`: names and types of what its expressions read
    expression : of an expression its text; of a loop the condition that ends it, over outputs and `iteration`
    over : of a map: the input ports that get one element of a list for each item
    feedback : of a loop: which output feeds which input of the next iteration
    after : nodes that must have ended well before this one starts, without a value from them
    fallback : the node whose outputs take this one's place when it fails
    """

    key: str
    kind: NodeKind
    cases: tuple[Case, ...] = ()
    input: InputSpec | None = None
    value: Any = None
    type_expr: Any = None
    ports: Mapping[str, Any] = field(default_factory=dict)
    expression: str | None = None
    over: tuple[str, ...] = ()
    parallel: int = 16
    on_item_failure: ItemFailure = ItemFailure.FAIL
    max_iterations: int = 0
    feedback: Mapping[str, str] = field(default_factory=dict)
    role: str | None = None
    message: str | None = None
    deadline_seconds: float | None = None
    on_expiry: str = "reject"
    delay_seconds: float = 0.0
    retry: RetryRule = RetryRule()
    timeout_seconds: float | None = None
    after: tuple[str, ...] = ()
    fallback: str | None = None
    label: str | None = None
    position: tuple[float, float] = (0.0, 0.0)

    @property
    def body(self) -> Body | None:
        """The only body of a function, workflow, map or loop."""
        return self.cases[0].body if self.cases else None


@dataclass(frozen=True)
class Edge:
    """From an output port to an input port. `alias`: the key under which an `Object` or `dict` port keeps it."""

    source: str
    source_port: str
    target: str
    target_port: str
    alias: str | None = None


@dataclass(frozen=True)
class Graph:
    """Nodes by key and edges, in the order given. `on_failure`: the node that starts when a run fails."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    on_failure: str | None = None
