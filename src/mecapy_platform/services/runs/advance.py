"""Moves a run on: reads what has ended, asks core what is to be done, and does it, under the lock of the run's row.

It may be repeated at any time and by anybody: without ends, acts and due moments it changes nothing. What is written
between a crash and the commit was never there, and the marks that led here are taken away by the same commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.workflows.advance import Course, Decision, Failure, LiveFacts, RunEnd, RunFacts
from mecapy_platform.core.workflows.graph import MAX_ROWS, NodeKind
from mecapy_platform.core.workflows.states import NodeState, RunState
from mecapy_platform.db import runs as statements
from mecapy_platform.services.runs.carrying import Carrying
from mecapy_platform.services.runs.collecting import collect
from mecapy_platform.services.runs.inputs import as_json
from mecapy_platform.services.runs.loading import LoadedVersion, load_version
from mecapy_platform.services.runs.ports import Catalog
from mecapy_platform.services.runs.requests import RunOptions
from mecapy_platform.services.runs.rights import HELD, Rights
from mecapy_platform.services.runs.sheet import Sheet
from mecapy_platform.services.runs.starting import NodeRow, Starter
from mecapy_platform.services.runs.stopping import stop
from mecapy_platform.services.runs.tools import Budget, Tools
from mecapy_platform.services.runs.values import RunValues

ROOM_SECONDS = 5.0  # until a full queue may have room again
STATES = {state.value: state for state in NodeState}
GIVEN_UP = frozenset({NodeState.FAILED, NodeState.CANCELLED, NodeState.SKIPPED})
FAILURE_KINDS = {
    "failed": "user_error",
    "timeout": "timeout",
    "out_of_memory": "out_of_memory",
    "lost": "lost_machine",
    "cancelled": "cancelled",
}


@dataclass
class Advanced:
    """`lanes`: in which tasks were made; `parents`: runs that wait for this one, marked; `state` after it."""

    state: RunState | None = None
    lanes: set[Lane] = field(default_factory=set)
    parents: list[UUID] = field(default_factory=list)

    def add(self, other: "Advanced") -> None:
        self.lanes |= other.lanes
        self.parents += other.parents


def advance(session: Session, run_id: UUID, tools: Tools, budget: Budget | None = None) -> Advanced:
    """Do what can be done for a run now, as far as the budget goes: what is left is marked, for another transaction.

    The commit is the caller's, and the hints after it.
    """
    done, budget = Advanced(), budget or Budget()
    lock = statements.LOCK_MARKED if tools.takes_marks else statements.LOCK
    run = session.execute(lock, {"run_id": run_id}).first()
    if run is None:
        return done
    done.state = RunState(run.state)
    version = load_version(session, run.workflow_version_id)
    while not done.state.is_final:
        if budget.looks <= 0:
            session.execute(statements.MARK_RUN, {"run_id": run_id})
            break
        budget.looks -= 1
        look = Look(session, run, version, tools, done.state, budget)
        again = look.take()
        done.state = look.state
        done.add(look.done)
        if not again:
            break
        run = session.execute(lock, {"run_id": run_id}).one()
    return done


@dataclass(frozen=True)
class LiveNode:
    """A node that runs or waits, as it lies in the database."""

    id: UUID
    place: int
    branch: int | None
    items: int | None
    decision: str | None
    not_before: datetime | None
    started_at: datetime | None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "LiveNode":
        not_before, started_at = (
            None if row[name] is None else datetime.fromisoformat(row[name]) for name in ("not_before", "started_at")
        )
        return cls(UUID(row["id"]), row["place"], row["branch"], row["items"], row["decision"], not_before, started_at)


class Look:
    """One look at a run, and all that follows from it."""

    def __init__(
        self, session: Session, run: Any, version: LoadedVersion, tools: Tools, state: RunState, budget: Budget
    ) -> None:
        self._session, self._run, self._version, self._tools = session, run, version, tools
        self._budget = budget
        self.state = state
        self.done = Advanced()
        self._catalog = Catalog(session)
        self._values = RunValues(session, run, version, self._catalog, tools.values)
        self._sheet = Sheet(run)
        self._rows: dict[int, NodeRow] = {}
        self._is_again = False
        self._rights = Rights(session, run)
        self._is_held = not self._rights.may_submit(run.organization_id)

    def take(self) -> bool:
        """Whether another look is due at once: something has ended by what was done."""
        facts = self._facts()
        states, live = self._read()
        course = Course(self._version.layout, facts, states)
        self._values.states = course.states
        decision = course.next(live)
        wake_at = decision.wake_at
        end: RunEnd | None = None
        while decision.acts or decision.stops:
            end = decision.run or end
            self._act(course, decision)
            decision = course.next({})
            wake_at = min((moment for moment in (wake_at, decision.wake_at) if moment is not None), default=None)
        self._write(course, end, wake_at)
        return self._is_again and not self.state.is_final

    def _facts(self) -> RunFacts:
        run = self._run
        return RunFacts(
            state=self.state,
            now=run.now,
            policy=RunOptions.read(run.options).failure_policy,
            cancel_requested=run.cancel_requested_at is not None,
            deadline_at=run.deadline_at,
            is_held=self._is_held or not self._tools.starts,
            seed=str(run.id),
        )

    def _read(self) -> tuple[list[NodeState], dict[int, LiveFacts]]:
        session, nodes = self._session, self._version.layout.nodes
        found = session.execute(statements.NODES, {"run_id": self._run.id}).one()
        live = [LiveNode.read(row) for row in found.live or ()]
        counts: dict[UUID, Any] = {}
        if live:
            self._rows = {row.place: NodeRow(row.id, row.branch, row.items) for row in live}
            ids = [row.id for row in live]
            session.execute(statements.SETTLE, {"node_ids": ids})
            kinds = [nodes[row.place].kind.value for row in live]
            counted = session.execute(statements.COUNTS, {"node_ids": ids, "kinds": kinds})
            counts = {row.node_id: row for row in counted}
        states = [STATES[state] for state in found.states or ()]
        return states, {row.place: self._live(row, counts[row.id]) for row in live}

    def _live(self, row: LiveNode, count: Any) -> LiveFacts:
        node = self._version.layout.nodes[row.place]
        limit = node.timeout_seconds if node.kind is not NodeKind.FUNCTION else None
        timeout_at: datetime | None = None
        if limit is not None and row.started_at is not None:
            timeout_at = row.started_at + timedelta(seconds=limit)
        failure = None
        if count.failed_state is not None:
            code = count.error_code or count.failed_state
            message = count.error_message or "It was cancelled."
            kind = FAILURE_KINDS.get(count.carrier_state, "user_error")
            failure = Failure(kind, code, message, count.failed_index)
        return LiveFacts(
            waiting=count.waiting,
            running=count.running,
            completed=count.completed or 0,
            tries=count.tries or 1,
            failure=failure,
            not_before=row.not_before,
            timeout_at=timeout_at,
            decision=row.decision,
        )

    def _act(self, course: Course, decision: Decision) -> None:
        nodes = self._version.layout.nodes
        self._drop(decision)
        for ended in decision.ends:
            self._sheet.node(ended.place, ended.state, code=ended.code, message=ended.message)
        for place, moment in decision.retries:
            self._session.execute(statements.TRY_AGAIN, {"node_ids": [self._rows[place].id]})
            self._sheet.node(place, NodeState.WAITING, not_before=moment)
        for place, room in decision.feeds:
            self._sheet.feeds[place] = room
            if course.states[place] is NodeState.WAITING:
                self._sheet.node(place, NodeState.RUNNING)
                course.settle(place, NodeState.RUNNING)
        self._find_rows([*decision.starts, *decision.collects, *decision.iterates])
        starter = Starter(self._sheet, self._values, self._catalog, self._rows_left(decision.starts))
        for place in decision.collects:
            course.settle(place, self._collect(place))
        for place in decision.iterates:
            course.settle(place, starter.iterate(place, nodes[place], self._rows[place]))
        self._values.fetch_for(decision.starts)
        self._catalog.prefetch(nodes[place] for place in decision.starts)
        for place in decision.starts:
            course.settle(place, starter.start(place, nodes[place], self._rows[place]))

    def _drop(self, decision: Decision) -> None:
        """Nodes that are given up leave no call behind: one that waited for another try may have some that wait."""
        given_up = [ended.place for ended in decision.ends if ended.state in GIVEN_UP]
        self._find_rows(given_up)
        stopped = [self._rows[place].id for place in decision.stops]
        dropped = [self._rows[place].id for place in [*decision.drops, *decision.stops, *given_up]]
        if dropped:
            self._session.execute(statements.DROP_WAITING, {"node_ids": dropped})
        if stopped:
            children = stop(self._session, stopped)
            self._is_again |= children.has_ended
            self._advance_inside(children.runs)

    def _collect(self, place: int) -> NodeState:
        node = self._version.layout.nodes[place]
        ports = self._catalog.outputs(node)
        try:
            outputs = collect(self._session, node, self._rows[place].id, ports, self._values)
            reference = self._tools.values.keep(self._run.organization_id, outputs)
        except MecapyError as error:
            self._sheet.node(place, NodeState.FAILED, code=error.code, message=error.sentence())
            return NodeState.FAILED
        self._values.remember(place, outputs)
        if reference is None:
            self._sheet.outputs(place, outputs)
        self._sheet.node(place, NodeState.COMPLETED, outputs_ref=reference)
        return NodeState.COMPLETED

    def _find_rows(self, places: Sequence[int]) -> None:
        missing = [place for place in places if place not in self._rows]
        if missing:
            rows = self._session.execute(statements.IDS, {"run_id": self._run.id, "places": missing})
            self._rows |= {row.place: NodeRow(row.id, row.branch, row.items) for row in rows}

    def _rows_left(self, starts: Sequence[int]) -> int:
        """How many items may still be added; counted only where a map starts."""
        nodes = self._version.layout.nodes
        if all(nodes[place].kind is not NodeKind.MAP for place in starts):
            return MAX_ROWS
        used = self._session.scalar(statements.ROWS, {"run_id": self._run.id}) or 0
        return max(0, MAX_ROWS - len(nodes) - int(used) - len(self._sheet.calls))

    def _write(self, course: Course, end: RunEnd | None, wake_at: datetime | None) -> None:
        session, run = self._session, self._run
        self._sheet.write_calls(session)
        node_ids = {place: row.id for place, row in self._rows.items()}
        carrying = Carrying(session, run, self._version, self._rights, self._values, self._tools)
        sent = carrying.send(self._sheet.feeds, node_ids, self._budget.looks)
        self._sheet.write_nodes(session)
        if sent.is_short:
            later = self._run.now + timedelta(seconds=ROOM_SECONDS)
            wake_at = later if wake_at is None else min(later, wake_at)
        self.done.lanes |= sent.lanes
        self._is_again |= sent.is_settled
        self._advance_inside(sent.children)
        self._write_run(course, end, wake_at)

    def _advance_inside(self, children: Sequence[UUID]) -> None:
        """Runs that are calls of this one, which looks again itself where one has ended."""
        for number, child in enumerate(children):
            if self._budget.looks <= 0:
                mark = statements.MARK_UNMARKED if self._tools.takes_marks else statements.MARK_RUNS
                self._session.execute(mark, {"run_ids": list(children[number:])})
                break
            inner = advance(self._session, child, self._tools, self._budget)
            self.done.lanes |= inner.lanes
            self._is_again |= inner.state is not None and inner.state.is_final

    def _write_run(self, course: Course, end: RunEnd | None, wake_at: datetime | None) -> None:
        session, run = self._session, self._run
        failed = self._first_failed(course)
        held = HELD if self._is_held else None
        state = end.state if end is not None else self.state
        is_same = state is self.state and failed is None and wake_at == run.wake_at and held == run.held_reason
        if is_same and not self._sheet.nodes and not self._sheet.feeds:
            return
        self.state = state
        values = {
            "run_id": run.id,
            "state": state.value,
            "wake_at": None if state.is_final else wake_at,
            "changed": 1,
            "held_reason": held,
            "failed": failed[0] if failed else None,
            "code": failed[1] if failed else STOPS.get(state, (None, None))[0],
            "message": failed[2] if failed else STOPS.get(state, (None, None))[1],
            "is_final": state.is_final,
        }
        session.execute(statements.UPDATE_RUN, values)
        if state.is_final:
            self._tell_parent(state)

    def _first_failed(self, course: Course) -> tuple[str, str | None, str | None] | None:
        """The node that failed first, with its code and sentence, where none was noted before."""
        if self._run.first_failed_node_key is not None:
            return None
        places = course.unhandled()
        if not places:
            return None
        place = places[0]
        key = self._version.layout.nodes[place].key
        found = self._sheet.nodes.get(place)
        if found is None or "message" not in found:
            asked = {"run_id": self._run.id, "place": place}
            row = self._session.execute(statements.NODE_ERROR, asked).one()
            found = {"code": row.error_code, "message": row.error_message}
        return key, found.get("code"), f"Node {key} failed: {found.get('message')}"

    def _tell_parent(self, state: RunState) -> None:
        run, session = self._run, self._session
        if run.parent_call_id is None:
            return
        if state is RunState.COMPLETED:
            outputs = as_json(self._values.outputs_in_si())
            reference = self._tools.values.keep(run.organization_id, outputs)
            given = {"outputs": outputs if reference is None else None, "outputs_ref": reference}
            session.execute(statements.KEEP_OUTPUTS, {"run_id": run.id, **given})
        session.execute(statements.MARK_PARENT, {"run_id": run.id, "call_id": run.parent_call_id})
        parent = session.scalar(statements.PARENT_RUN, {"call_id": run.parent_call_id})
        if parent is not None:
            self.done.parents.append(parent)


STOPS = {
    RunState.CANCELLED: ("run_cancelled", "The run was cancelled."),
    RunState.TIMEOUT: ("run_timeout", "The run came to its deadline before it had ended."),
}
