"""Values between the nodes of a run: what nodes have given, and what a node gets by its edges, converted on the way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.types import DictType, FileType
from mecapy_platform.core.workflows.border import converter
from mecapy_platform.core.workflows.graph import INPUT_PORT, Edge, Node, NodeKind
from mecapy_platform.core.workflows.ports import ITERATIONS_PORT, entry_key, takes_several
from mecapy_platform.core.workflows.signatures import Port, Ports
from mecapy_platform.core.workflows.states import NodeState
from mecapy_platform.db import runs as statements
from mecapy_platform.services.runs.inputs import FileValue, checked_inputs, stored_file
from mecapy_platform.services.runs.loading import LoadedVersion
from mecapy_platform.services.runs.ports import Catalog
from mecapy_platform.services.values import ValueStore


@dataclass
class Gathered:
    """What a node gets: values by port, and files by port as a task's row has them."""

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, port: str, value: Any) -> None:
        if isinstance(value, FileValue):
            self.files[port] = dict(value.entry)
        else:
            self.values[port] = value


@dataclass(frozen=True)
class Given:
    """What a node has given, and the branch that gave it; nothing where it has not ended well."""

    values: Mapping[str, Any]
    branch: int | None = None
    has_ended_well: bool = True


class RunValues:
    """Of one run while it is advanced. What was read is kept to the end of the look.

    `states`: of the nodes as they have been decided, which the database does not know yet.
    """

    def __init__(self, session: Session, run: Any, version: LoadedVersion, catalog: Catalog, store: ValueStore) -> None:
        self._session, self._run, self._version = session, run, version
        self.catalog, self._store = catalog, store
        self.states: Sequence[NodeState] = ()
        self._given: dict[int, Given] = {}
        self._inputs: Mapping[str, Any] | None = None

    def remember(self, place: int, values: Mapping[str, Any]) -> None:
        """What a node has just given."""
        self._given[place] = Given(values)

    def forget(self, place: int) -> None:
        """It may have ended since."""
        self._given.pop(place, None)

    def fetch(self, places: Iterable[int]) -> None:
        """Read what these nodes have given, in one statement."""
        missing = sorted(place for place in set(places) if place not in self._given)
        if not missing:
            return
        nodes = self._version.layout.nodes
        self.catalog.prefetch(nodes[place] for place in missing)
        rows = self._session.execute(statements.OUTPUTS, {"run_id": self._run.id, "places": missing}).all()
        for row in rows:
            self._given[row.place] = self._read(row, nodes[row.place])
        self._fetch_files({row.task_id: row.place for row in rows if row.task_id is not None})

    def fetch_for(self, places: Iterable[int]) -> None:
        """Read what nodes will be given, for all of them at once."""
        self.fetch(source for place in places for source in self._version.layout.sources[place])

    def given(self, place: int) -> Mapping[str, Any]:
        """What a node has given, by port, in the units of its own end."""
        self.fetch([place])
        return self._given[place].values

    def given_by_last_call(self, place: int) -> Mapping[str, Any]:
        """Of a loop that goes on: what its last iteration has given."""
        row = self._session.execute(statements.OUTPUTS, {"run_id": self._run.id, "places": [place]}).one()
        self._given[place] = self._read(row, self._version.layout.nodes[place], is_final=False)
        if row.task_id is not None:
            self._fetch_files({row.task_id: place})
        return self._given.pop(place).values

    def gather(self, place: int, targets: Ports) -> Gathered:
        """What the edges of a node bring, in the units of its `targets`."""
        layout = self._version.layout
        by_port: dict[str, list[Edge]] = {}
        for edge in layout.edges.get(layout.nodes[place].key, ()):
            by_port.setdefault(edge.target_port, []).append(edge)
        gathered = Gathered()
        for port, edges in by_port.items():
            self._bring(gathered, port, edges, targets.get(port))
        return gathered

    def outputs_in_si(self) -> dict[str, Any]:
        """What the run gives as a node of another, by port."""
        named = self.catalog.terminals(self._version)
        self.fetch(place for place, _, _ in named.values())
        found = {}
        for name, (place, port, end) in named.items():
            values = self._given[place].values
            if port in values:
                change = converter(end.type, end.system, end.type, Port(end.type).system)
                found[name] = values[port] if change is None else change(values[port])
        return found

    def _bring(self, gathered: Gathered, port: str, edges: list[Edge], target: Port | None) -> None:
        is_collected = (len(edges) > 1 or edges[0].alias is not None) and (target is None or takes_several(target.type))
        if not is_collected:
            found, value = self._carried(edges[0], target)
            if found:
                gathered.put(port, value)
            return
        inner = Port(target.type.value, target.system) if target and isinstance(target.type, DictType) else target
        merged = {}
        for edge in edges:
            found, value = self._carried(edge, inner)
            if found and not isinstance(value, FileValue):
                merged[entry_key(edge)] = value
        gathered.values[port] = merged

    def _carried(self, edge: Edge, target: Port | None) -> tuple[bool, Any]:
        """Whether anything comes by an edge, and what: a value that an optional output left out does not."""
        node = self._version.graph.nodes[edge.source]
        if node.kind is NodeKind.INPUT:
            inputs = self.inputs
            found, value = node.key in inputs, inputs.get(node.key)
            source = self.catalog.outputs(node).get(INPUT_PORT)
        else:
            place = self._standing(self._version.layout.places[edge.source])
            given = self._given[place]
            source = self.catalog.outputs(self._version.layout.nodes[place], given.branch).get(edge.source_port)
            found, value = edge.source_port in given.values, given.values.get(edge.source_port)
        if not found or source is None or target is None or isinstance(value, FileValue):
            return found, value
        change = converter(source.type, source.system, target.type, target.system)
        return True, value if change is None else change(value)

    def _standing(self, place: int) -> int:
        """The node itself, or the fallback that gave in its stead."""
        self.fetch([place])
        while not self._given[place].has_ended_well and (fallback := self._version.layout.fallback[place]) is not None:
            place = fallback
            self.fetch([place])
        return place

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Of the input nodes, in SI."""
        if self._inputs is None:
            run = self._run
            given = run.inputs or {}
            if run.inputs_ref is not None:
                given = self._store.load(self._session, run.organization_id, run.inputs_ref)
            is_ours = run.parent_call_id is not None
            self._inputs = checked_inputs(self._session, self._version, given, None, is_ours=is_ours)
        return self._inputs

    def loaded(self, organization_id: UUID, value: Mapping[str, Any] | None, ref: UUID | None) -> dict[str, Any]:
        """A value that lies in a row, or in storage."""
        return dict(value or {}) if ref is None else self._store.load(self._session, organization_id, ref)

    def _read(self, row: Any, node: Node, *, is_final: bool = True) -> Given:
        if is_final and self.states[row.place] is not NodeState.COMPLETED:
            return Given({}, has_ended_well=False)
        if row.outputs is not None or row.outputs_ref is not None:
            values = self.loaded(self._run.organization_id, row.outputs, row.outputs_ref)
        else:
            values = self.loaded(row.result_organization_id, row.result, row.result_ref)
        ports = self.catalog.outputs(node, row.branch)
        values |= {name: FileValue.read(values[name]) for name in values if name in ports and _is_file(ports[name])}
        if node.kind is NodeKind.LOOP:
            values[ITERATIONS_PORT] = row.items
        return Given(values, row.branch)

    def _fetch_files(self, tasks: Mapping[UUID, int]) -> None:
        nodes = self._version.layout.nodes
        places = {
            task_id: place
            for task_id, place in tasks.items()
            if any(map(_is_file, self.catalog.outputs(nodes[place], self._given[place].branch).values()))
        }
        if not places:
            return
        for row in self._session.execute(statements.FILES, {"task_ids": list(places)}):
            given = self._given[places[row.task_id]]
            self._given[places[row.task_id]] = Given({**given.values, row.name: stored_file(row)}, given.branch)


def _is_file(port: Port) -> bool:
    return isinstance(port.type, FileType)
