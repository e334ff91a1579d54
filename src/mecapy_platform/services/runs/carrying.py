"""Gives the waiting calls of a run what they get, and a carrier each: a task, or a run of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.errors import InvalidInputError, MecapyError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.types import FileType
from mecapy_platform.core.workflows.graph import MAX_NESTING, Body, Node, NodeKind
from mecapy_platform.core.workflows.signatures import Ports
from mecapy_platform.db import runs as statements
from mecapy_platform.services.runs.carry import ReadyCall, carry
from mecapy_platform.services.runs.inputs import FileValue, as_json, checked_inputs
from mecapy_platform.services.runs.loading import LoadedVersion, bodies_of
from mecapy_platform.services.runs.making import NewRun, Parent, make
from mecapy_platform.services.runs.requests import RunOptions
from mecapy_platform.services.runs.rights import Rights
from mecapy_platform.services.runs.sheet import plain
from mecapy_platform.services.runs.tools import Tools
from mecapy_platform.services.runs.values import Gathered, RunValues
from mecapy_platform.services.tasks.inserting import write

WITH_OWN_TRIES = frozenset({NodeKind.MAP, NodeKind.LOOP})  # their items are tried again by their tasks


@dataclass
class Sent:
    """`children`: runs that were made, to be advanced; `lanes` of the tasks.

    `is_settled`: a call was refused, or a node had none left to carry: what comes of it is decided by another look.
    `is_short`: the organization's queue has no room for all of them; the rest is for a later moment.
    """

    children: list[UUID] = field(default_factory=list)
    lanes: set[Lane] = field(default_factory=set)
    is_settled: bool = False
    is_short: bool = False


class Carrying:
    """Of one look at a run."""

    def __init__(
        self, session: Session, run: Any, version: LoadedVersion, rights: Rights, values: RunValues, tools: Tools
    ) -> None:
        self._session, self._run, self._version = session, run, version
        self._catalog, self._values, self._tools = values.catalog, values, tools
        self._rights = rights
        self._options = RunOptions.read(run.options)
        self._sent = Sent()
        self._refused: list[tuple[UUID, MecapyError]] = []
        self._carriers: list[dict[str, Any]] = []

    def send(self, feeds: Mapping[int, int], node_ids: Mapping[int, UUID], most_runs: int) -> Sent:
        """Carry up to so many waiting calls of these nodes; `most_runs`: how many runs may be made now."""
        feeds = self._with_room(feeds, most_runs)
        if not feeds:
            return self._sent
        places = sorted(feeds)
        self._values.fetch_for(places)
        self._catalog.prefetch(self._version.layout.nodes[place] for place in places)
        wanted = {"node_ids": [node_ids[place] for place in places], "counts": [feeds[place] for place in places]}
        rows = self._session.execute(statements.WAITING, wanted).all()
        by_id = {node_ids[place]: place for place in places}
        ready: list[ReadyCall] = []
        shared: dict[tuple[int, Body], Gathered | MecapyError] = {}
        for row in rows:
            place = by_id[row.node_id]
            body = Body(row.function_id, row.workflow_version_id)
            try:
                found = shared.get((place, body)) or shared.setdefault((place, body), self._gather(place, body))
                if isinstance(found, MecapyError):
                    raise found
                given = _with_own(found, row.inputs, self._catalog.inputs(body))
                if body.function_version_id is not None:
                    ready.append(self._ready(row, self._version.layout.nodes[place], given))
                else:
                    self._inner_run(row, body, given)
            except MecapyError as error:
                self._refused.append((row.id, error))
        self._write(ready)
        self._sent.is_settled |= len({row.node_id for row in rows}) < len(places)
        return self._sent

    def _with_room(self, feeds: Mapping[int, int], most_runs: int) -> dict[int, int]:
        """As many of them as the queue takes. The count is the sweep's, so a burst may pass it a little."""
        room = max(0, self._tools.rules.organization_max_queued - int(self._run.queued))
        cut: dict[int, int] = {}
        for place, wanted in feeds.items():
            cut[place] = min(wanted, room)
            room -= cut[place]
            self._sent.is_short |= cut[place] < wanted
            if any(body.workflow_version_id is not None for body in bodies_of(self._version.layout.nodes[place])):
                self._sent.is_settled |= cut[place] > most_runs  # another look, which goes on or marks the run
                cut[place] = min(cut[place], most_runs)
                most_runs -= cut[place]
        return {place: number for place, number in cut.items() if number > 0}

    def _gather(self, place: int, body: Body) -> Gathered | MecapyError:
        try:
            return self._values.gather(place, self._catalog.inputs(body))
        except MecapyError as error:
            return error

    def _ready(self, row: Any, node: Node, given: Gathered) -> ReadyCall:
        loaded = self._rights.check(self._catalog.function(row.function_id))
        takes_all = loaded.function.inputs is None or loaded.function.free_inputs
        named = node.kind in {NodeKind.IF, NodeKind.SWITCH} and not takes_all
        ports = loaded.function.inputs or {}
        return ReadyCall(
            id=row.id,
            user_id=self._run.user_id,
            loaded=loaded,
            inputs={name: value for name, value in given.values.items() if not named or name in ports},
            files={name: value for name, value in given.files.items() if not named or name in ports},
            name=node.key if node.kind not in WITH_OWN_TRIES else f"{node.key}[{row.index}]",
            priority=self._options.priority,
            timeout_seconds=node.timeout_seconds if node.kind not in WITH_OWN_TRIES else None,
            retry=node.retry if node.kind in WITH_OWN_TRIES else None,
            run_id=self._run.id,
            node_id=row.node_id,
        )

    def _inner_run(self, row: Any, body: Body, given: Gathered) -> None:
        assert body.workflow_version_id is not None
        depth = self._run.depth + 1
        if depth > MAX_NESTING:
            raise InvalidInputError("nesting_too_deep", f"Workflows lie inside each other {MAX_NESTING} deep at most.")
        version = self._catalog.version(body.workflow_version_id)
        kinds = {name: isinstance(port.type, FileType) for name, port in self._catalog.inputs(body).items()}
        files = {name: FileValue(entry) for name, entry in given.files.items() if kinds.get(name) is True}
        values = {name: value for name, value in given.values.items() if kinds.get(name) is False}
        inputs = as_json({**values, **files})  # a value never becomes a file by looking as one
        checked_inputs(self._session, version, inputs, self._run.user_id, is_ours=True)
        child = make(
            self._session,
            NewRun(
                organization_id=self._run.organization_id,
                user_id=self._run.user_id,
                version=version,
                inputs=inputs,
                options=replace(self._options, deadline_seconds=None),
                plan={},
                visibility=self._run.visibility_snapshot,
                parent=Parent(row.id, self._run.root_run_id or self._run.id, depth),
            ),
            self._tools.values,
        )
        self._carriers.append({"id": row.id, "child_run_id": child})
        self._sent.children.append(child)

    def _write(self, ready: Sequence[ReadyCall]) -> None:
        carried = carry(ready, self._tools.values)
        write(self._session, carried.tasks)
        carriers = [*carried.carriers, *self._carriers]
        if carriers:
            self._session.execute(statements.CARRIED, {"calls": plain(carriers)})
        refused = [*carried.refused, *self._refused]
        if refused:
            ended = [{"id": call, "code": error.code, "message": error.sentence()} for call, error in refused]
            self._session.execute(statements.REFUSED, {"calls": plain(ended)})
            self._session.execute(statements.REFUSED_END, {"calls": plain(ended)})
        self._sent.is_settled |= bool(refused)
        self._sent.lanes |= {Lane(columns["lane"]) for _, columns in carried.tasks if columns["hold_reason"] is None}


def _with_own(shared: Gathered, own: Mapping[str, Any] | None, ports: Ports) -> Gathered:
    """What all calls of a node get, and what is this one's own."""
    if not own:
        return shared
    given = Gathered(dict(shared.values), dict(shared.files))
    for name, value in own.items():
        given.values.pop(name, None)  # the whole list that a map goes over
        if name not in ports or not isinstance(ports[name].type, FileType):
            given.put(name, value)
        elif value is not None:  # an item that gave no file: whether there must be one is judged with the other inputs
            given.put(name, FileValue.read(value))
    return given
