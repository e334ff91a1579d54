"""Starts nodes: what each kind does first. What cannot start says why, and its node fails with that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from mecapy_platform.core.errors import InvalidInputError, MecapyError
from mecapy_platform.core.types import ListType
from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.value_reader import ValueReader
from mecapy_platform.core.workflows.border import converter
from mecapy_platform.core.workflows.graph import INPUT_PORT, MAX_ITEMS, MAX_ROWS, Body, Node, NodeKind
from mecapy_platform.core.workflows.ports import OBJECT
from mecapy_platform.core.workflows.signatures import Port, Ports, parsed
from mecapy_platform.core.workflows.states import NodeState
from mecapy_platform.services.runs.expressions import holds, value_of
from mecapy_platform.services.runs.inputs import FileValue
from mecapy_platform.services.runs.ports import Catalog
from mecapy_platform.services.runs.sheet import Sheet
from mecapy_platform.services.runs.values import RunValues


@dataclass(frozen=True)
class NodeRow:
    """A node as it lies in the database; `items`: calls that were made before, of a node that is tried again."""

    id: UUID
    branch: int | None = None
    items: int | None = None


class Starter:
    """Of one look at a run. `rows_left`: how many more items the run may have."""

    def __init__(self, sheet: Sheet, values: RunValues, catalog: Catalog, rows_left: int) -> None:
        self._sheet, self._values, self._catalog = sheet, values, catalog
        self._rows_left = rows_left
        self._kinds: Mapping[NodeKind, Callable[[int, Node, NodeRow], NodeState]] = {
            NodeKind.FUNCTION: self._body,
            NodeKind.WORKFLOW: self._body,
            NodeKind.LOOP: self._body,
            NodeKind.MAP: self._map,
            NodeKind.IF: self._choose,
            NodeKind.SWITCH: self._choose,
            NodeKind.CONSTANT: self._constant,
            NodeKind.EXPRESSION: self._expression,
            NodeKind.ASSUME_UNIT: self._assume_unit,
            NodeKind.APPROVAL: self._wait,
            NodeKind.DELAY: self._wait,
        }

    def start(self, place: int, node: Node, row: NodeRow) -> NodeState:
        """The state in which the node is now; it stands in the sheet."""
        try:
            return self._kinds[node.kind](place, node, row)
        except MecapyError as error:
            message = error.sentence()
            self._sheet.node(place, NodeState.FAILED, code=error.code, message=message, is_begun=True)
            return NodeState.FAILED

    def iterate(self, place: int, node: Node, row: NodeRow) -> NodeState:
        """After an iteration of a loop that has ended well: the loop ends, or another one follows."""
        done = row.items or 1
        self._values.forget(place)
        outputs = self._values.given_by_last_call(place)
        body = _body_of(node)
        ports = self._catalog.outputs_of(body)
        try:
            if holds(node.expression or "", ports, outputs, iteration=done):
                self._sheet.node(place, NodeState.COMPLETED)
                return NodeState.COMPLETED
            if done >= node.max_iterations:
                message = f"After {done} iterations it still does not hold: {node.expression}"
                raise InvalidInputError("loop_limit", message)
        except MecapyError as error:
            self._sheet.node(place, NodeState.FAILED, code=error.code, message=error.sentence())
            return NodeState.FAILED
        fed = {}
        targets = self._catalog.inputs(body)
        for source, target in node.feedback.items():
            if source in outputs:
                fed[target] = _crossed(outputs[source], ports.get(source), targets.get(target))
        self._sheet.call(row.id, body, index=done, inputs=fed)
        self._sheet.node(place, NodeState.RUNNING, items=done + 1)
        self._sheet.feeds[place] = 1
        return NodeState.RUNNING

    def _begun(self, place: int, state: NodeState, **columns: Any) -> NodeState:
        self._sheet.node(place, state, is_begun=True, **columns)
        return state

    def _body(self, place: int, node: Node, row: NodeRow) -> NodeState:
        if row.items is None:
            self._sheet.call(row.id, _body_of(node))
        self._sheet.feeds[place] = 1
        return self._begun(place, NodeState.RUNNING, items=row.items or 1)

    def _choose(self, place: int, node: Node, row: NodeRow) -> NodeState:
        if row.items is not None:
            self._sheet.feeds[place] = 1
            return self._begun(place, NodeState.RUNNING)
        ports = declared(node)
        given = self._values.gather(place, ports)
        for branch, case in enumerate(node.cases):
            if case.when is None or holds(case.when, ports, given.values):
                if case.body is None:
                    return self._begun(place, NodeState.SKIPPED, branch=branch)
                self._sheet.call(row.id, case.body)
                self._sheet.feeds[place] = 1
                return self._begun(place, NodeState.RUNNING, branch=branch, items=1)
        return self._begun(place, NodeState.SKIPPED)

    def _map(self, place: int, node: Node, row: NodeRow) -> NodeState:
        if row.items is None:
            body = _body_of(node)
            items = self._items(place, node, body)
            for index, inputs in enumerate(items):
                self._sheet.call(row.id, body, index=index, inputs=inputs)
            row = NodeRow(row.id, items=len(items))
            self._rows_left -= len(items)
        self._sheet.feeds[place] = node.parallel
        return self._begun(place, NodeState.RUNNING, items=row.items)

    def _items(self, place: int, node: Node, body: Body) -> list[dict[str, Any]]:
        """What differs from item to item: one element of each list."""
        inputs = self._catalog.inputs(body)
        targets = {port: Port(ListType(inputs[port].type), inputs[port].system) for port in node.over if port in inputs}
        given = self._values.gather(place, targets).values
        lists = {port: given.get(port) for port in node.over}
        for port, value in lists.items():
            if not isinstance(value, list):
                raise InvalidInputError(
                    "map_not_a_list", f"{port} is no list; a map needs one for each port it goes over."
                )
        lengths = {port: len(value) for port, value in lists.items() if value is not None}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{port} has {length}" for port, length in lengths.items())
            raise InvalidInputError("map_lengths_differ", f"The lists must have one length: {told}.")
        length = next(iter(lengths.values()), 0)
        if length > MAX_ITEMS:
            raise InvalidInputError("map_too_many_items", f"The map has {length} items, the limit is {MAX_ITEMS}.")
        if length > self._rows_left:
            message = f"The run would have more than {MAX_ROWS} nodes and items; {length} more do not fit."
            raise InvalidInputError("run_too_many_rows", message)
        return [
            dict(zip(lists, item, strict=True)) for item in zip(*(value or [] for value in lists.values()), strict=True)
        ]

    def _constant(self, place: int, node: Node, row: NodeRow) -> NodeState:
        del row
        reader = ValueReader(UnitSystem.SI)
        value = reader.read(parsed(node.type_expr), node.value, node.key)
        if reader.problems:
            raise InvalidInputError("constant_invalid", reader.problems[0].message, problems=reader.problems)
        return self._at_once(place, value)

    def _expression(self, place: int, node: Node, row: NodeRow) -> NodeState:
        del row
        ports = declared(node)
        given = self._values.gather(place, ports).values
        wanted = parsed(node.type_expr) if node.type_expr else None
        return self._at_once(place, value_of(node.expression or "", ports, given, wanted))

    def _assume_unit(self, place: int, node: Node, row: NodeRow) -> NodeState:
        """The number is taken as it is: what it counts is what the node says."""
        del node, row
        given = self._values.gather(place, {}).values
        if INPUT_PORT not in given:
            raise InvalidInputError("missing_input", "There is no value to take in another unit.")
        return self._at_once(place, given[INPUT_PORT])

    def _at_once(self, place: int, value: Any) -> NodeState:
        values = {INPUT_PORT: value}
        self._sheet.outputs(place, values)
        self._values.remember(place, values)
        return self._begun(place, NodeState.COMPLETED)

    def _wait(self, place: int, node: Node, row: NodeRow) -> NodeState:
        """For a moment, or for a person with a deadline; what comes in goes out again."""
        del row
        seconds = node.delay_seconds if node.kind is NodeKind.DELAY else node.deadline_seconds
        given = self._values.gather(place, {INPUT_PORT: Port(OBJECT)}).values
        if given:
            self._sheet.outputs(place, given)
        until = None if seconds is None else self._sheet.run.now + timedelta(seconds=seconds)
        return self._begun(place, NodeState.WAITING, not_before=until)


def declared(node: Node) -> Ports:
    """The ports that a node's expressions read, in SI."""
    return {name: Port(parsed(expression)) for name, expression in node.ports.items()}


def _body_of(node: Node) -> Body:
    body = node.body
    if body is None:
        raise InvalidInputError("graph_invalid", f"Node {node.key} has no body.")
    return body


def _crossed(value: Any, source: Port | None, target: Port | None) -> Any:
    if source is None or target is None or isinstance(value, FileValue):
        return value
    change = converter(source.type, source.system, target.type, target.system)
    return value if change is None else change(value)
