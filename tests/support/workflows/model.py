"""A run without a database: what core/workflows/advance decides is done to plain lists, and watched while it is done.

It does in memory what services/runs/advance does in a transaction; every promise of docs/reference/run-invariants.md
that one step can break is checked at that step.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mecapy_platform.core.workflows.advance import (
    FAIL_FAST,
    Decision,
    Failure,
    LiveFacts,
    RunFacts,
    decide,
)
from mecapy_platform.core.workflows.graph import AT_ONCE, ItemFailure, NodeKind
from mecapy_platform.core.workflows.layout import Layout
from mecapy_platform.core.workflows.states import (
    CALL_TRANSITIONS,
    NODE_FINAL,
    NODE_TRANSITIONS,
    RUN_TRANSITIONS,
    CallState,
    NodeState,
    RunState,
)

BEGUN = frozenset({NodeState.RUNNING, NodeState.WAITING, NodeState.COMPLETED})


@dataclass
class ModelCall:
    state: CallState = CallState.WAITING
    tries: int = 0
    kind: str | None = None  # of its failure
    ends: int = 0  # how often it has ended since it was last begun anew

    def go(self, state: CallState) -> None:
        assert state in CALL_TRANSITIONS[self.state], (self.state, state)
        self.state = state
        if state.is_final:
            self.ends += 1
            assert self.ends == 1, "a call ends once"


@dataclass
class ModelNode:
    state: NodeState = NodeState.PENDING
    calls: list[ModelCall] = field(default_factory=list)
    not_before: datetime | None = None
    decision: str | None = None
    ends: int = 0

    def count(self, state: CallState) -> int:
        return sum(call.state is state for call in self.calls)


@dataclass
class ModelRun:
    """`sizes`: of maps, how many items each has, and of loops after how many iterations each ends."""

    layout: Layout
    policy: str = FAIL_FAST
    sizes: dict[int, int] = field(default_factory=dict)
    state: RunState = RunState.PENDING
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    cancel_requested: bool = False
    deadline_at: datetime | None = None
    is_held: bool = False
    nodes: list[ModelNode] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = [ModelNode() for _ in self.layout.nodes]

    # What an advance does

    def facts(self) -> RunFacts:
        return RunFacts(
            self.state, self.now, self.policy, self.cancel_requested, self.deadline_at, self.is_held, seed="model"
        )

    def advance(self) -> None:
        """To where nothing more is to be done, each decision for itself, as if the process died after each."""
        for _ in range(4 * len(self.nodes) + 20):
            if self.state.is_final:
                return
            decision = decide(self.layout, self.facts(), [node.state for node in self.nodes], self.live())
            self.apply(decision)
            if not decision.acts and not decision.stops:
                self._check_rest(decision)
                return
            if not decision.acts and not any(self.nodes[place].count(CallState.RUNNING) for place in decision.stops):
                return
            if not decision.acts:
                self._check_rest(decision)
                return
        raise AssertionError("an advance comes to an end")

    def live(self) -> dict[int, LiveFacts]:
        found = {}
        for place, node in enumerate(self.nodes):
            if node.state not in {NodeState.RUNNING, NodeState.WAITING}:
                continue
            ended = ((index, call) for index, call in enumerate(node.calls) if call.kind is not None)
            failure = next((Failure(str(call.kind), "code", "message", index) for index, call in ended), None)
            found[place] = LiveFacts(
                waiting=node.count(CallState.WAITING),
                running=node.count(CallState.RUNNING),
                completed=node.count(CallState.COMPLETED),
                tries=max((call.tries for call in node.calls), default=1),
                failure=failure,
                not_before=node.not_before,
                decision=node.decision,
            )
        return found

    def apply(self, decision: Decision) -> None:
        """Check each step, then do it."""
        stop = self.facts().stop
        before = [node.state for node in self.nodes]
        has_failed = bool(self.unhandled())
        self._drop([*decision.drops, *decision.stops])
        for ended in decision.ends:
            self.go(ended.place, ended.state)
        for place, moment in decision.retries:
            self._try_again(place, moment)
        for place in decision.collects:
            self._collect(place)
        for place in decision.iterates:
            self._iterate(place)
        for place, room in decision.feeds:
            assert self.may_start(), "nothing is carried in a run that may not start anything"
            self.go(place, NodeState.RUNNING)
            self._feed(place, room)
        for place in decision.starts:
            self._start(place, before, has_failed=has_failed, is_stopped=stop is not None)
        if decision.run is not None:
            self._end(decision.run.state)

    def _drop(self, places: list[int]) -> None:
        for call in (call for place in places for call in self.nodes[place].calls):
            if call.state is CallState.WAITING:
                call.go(CallState.CANCELLED)
                call.kind = "cancelled"

    def may_start(self) -> bool:
        return self.facts().stop is None and self.state is not RunState.PAUSED and not self.is_held

    def go(self, place: int, state: NodeState) -> None:
        node = self.nodes[place]
        if node.state is state:
            return
        assert state in NODE_TRANSITIONS[node.state], (self.layout.nodes[place].key, node.state, state)
        node.state = state
        if state in NODE_FINAL:
            node.ends += 1
            assert node.ends == 1, "a node ends once"
            assert not node.count(CallState.RUNNING), "nothing of a node that has ended goes on"

    def unhandled(self) -> list[int]:
        return [
            place
            for place, node in enumerate(self.nodes)
            if node.state is NodeState.FAILED and self.has_ended_badly(place)
        ]

    def has_ended_badly(self, place: int) -> bool:
        """Failed with no fallback that has given, or may still give, in its stead; or cancelled."""
        node, fallback = self.nodes[place], self.layout.fallback[place]
        if node.state is NodeState.FAILED and fallback is not None:
            stand_in = self.nodes[fallback]
            return stand_in.state is NodeState.SKIPPED or self.has_ended_badly(fallback)
        return node.state in {NodeState.FAILED, NodeState.CANCELLED}

    def has_given(self, place: int) -> bool:
        node, fallback = self.nodes[place], self.layout.fallback[place]
        if node.state is NodeState.FAILED and fallback is not None:
            return self.has_given(fallback)
        return node.state is NodeState.COMPLETED

    def _start(self, place: int, before: list[NodeState], *, has_failed: bool, is_stopped: bool) -> None:
        node = self.layout.nodes[place]
        assert before[place] is NodeState.PENDING, "a node starts once"
        assert not is_stopped, "nothing starts in a run that is stopped"
        assert self.may_start(), "nothing starts in a run that is paused or held"
        assert all(map(self.has_given, self.layout.sources[place])), "nothing starts before its inputs"
        for earlier in self.layout.after[place]:
            assert self.has_given(earlier) or self.nodes[earlier].state is NodeState.SKIPPED, "nothing starts too early"
        if place == self.layout.on_failure:
            assert has_failed or self.unhandled(), "what waits for a failure starts after one"
            others = [item.state for other, item in enumerate(self.nodes) if other != place]
            assert set(others) <= NODE_FINAL, "what waits for a failure starts when all else has ended"
        else:
            assert not (has_failed and self.policy == FAIL_FAST), "nothing starts after a failure"
        if self.layout.stands_for[place]:
            primaries = [self.nodes[primary].state for primary in self.layout.stands_for[place]]
            assert NodeState.FAILED in primaries, "a fallback starts for a node that failed"
        self._begin(place, node.kind)

    def _begin(self, place: int, kind: NodeKind) -> None:
        model = self.nodes[place]
        if kind in AT_ONCE:
            self.go(place, NodeState.COMPLETED)
        elif kind is NodeKind.IF and not model.calls and self.sizes.get(place, 1) == 0:
            self.go(place, NodeState.SKIPPED)
        elif kind in {NodeKind.APPROVAL, NodeKind.DELAY}:
            self.go(place, NodeState.WAITING)
            model.not_before = self.now + timedelta(seconds=60) if kind is NodeKind.DELAY else None
        else:
            self.go(place, NodeState.RUNNING)
            size = self.sizes.get(place, 3) if kind is NodeKind.MAP else 1
            if not model.calls:
                model.calls = [ModelCall() for _ in range(size)]
            self._feed(place, self.layout.nodes[place].parallel if kind is NodeKind.MAP else 1)

    def _feed(self, place: int, room: int) -> None:
        waiting = [call for call in self.nodes[place].calls if call.state is CallState.WAITING]
        for call in waiting[:room]:
            call.go(CallState.RUNNING)
            call.tries += 1
        node = self.layout.nodes[place]
        most = node.parallel if node.kind is NodeKind.MAP else 1
        assert self.nodes[place].count(CallState.RUNNING) <= most, "a map runs no more items at once than it says"

    def _try_again(self, place: int, moment: datetime) -> None:
        node = self.layout.nodes[place]
        for call in self.nodes[place].calls:
            if call.state in {CallState.FAILED, CallState.CANCELLED}:
                assert call.tries <= node.retry.max, "a node is tried as often as it says"
                call.go(CallState.WAITING)
                call.kind, call.ends = None, 0
        self.nodes[place].not_before = moment
        self.go(place, NodeState.WAITING)

    def _collect(self, place: int) -> None:
        states = {call.state for call in self.nodes[place].calls}
        wanted = {CallState.COMPLETED}
        if self.layout.nodes[place].on_item_failure is not ItemFailure.FAIL:
            wanted |= {CallState.FAILED, CallState.CANCELLED}
        assert states <= wanted, "a map gives what all its items gave"
        self.go(place, NodeState.COMPLETED)

    def _iterate(self, place: int) -> None:
        assert self.may_start(), "no iteration starts in a run that may not start anything"
        node, wanted = self.nodes[place], self.sizes.get(place, 3)
        if len(node.calls) >= wanted:
            self.go(place, NodeState.COMPLETED)
        else:
            node.calls.append(ModelCall())
            self._feed(place, 1)

    def _end(self, state: RunState) -> None:
        assert state in RUN_TRANSITIONS[self.state], (self.state, state)
        if state.is_final:
            assert {node.state for node in self.nodes} <= NODE_FINAL, "a run ends when nothing is left"
            stop = self.facts().stop
            failed = bool(self.unhandled())
            has_cancelled = any(node.state is NodeState.CANCELLED for node in self.nodes)
            if stop is not None and has_cancelled:
                assert state is stop
            else:
                assert state is (RunState.FAILED if failed else RunState.COMPLETED)
        self.state = state

    def _check_rest(self, decision: Decision) -> None:
        """Nothing is to be done: then the run waits for something that will come."""
        assert not self.state.is_final
        live = [place for place, node in enumerate(self.nodes) if node.state in {NodeState.RUNNING, NodeState.WAITING}]
        if not live:
            assert not self.may_start(), "a run never stands still"
            return
        for place in live:
            node, kind = self.nodes[place], self.layout.nodes[place].kind
            waits = node.state is NodeState.WAITING and (kind is NodeKind.APPROVAL or node.not_before is not None)
            assert node.count(CallState.RUNNING) or waits or not self.may_start(), "a node never stands still"
            if waits and node.not_before is not None and node.not_before > self.now:
                assert (decision.wake_at or node.not_before) <= node.not_before, "a moment wakes its run"
                assert decision.wake_at is not None, "a moment wakes its run"

    # What comes from outside

    def running(self) -> list[tuple[int, int]]:
        return [
            (place, index)
            for place, node in enumerate(self.nodes)
            for index, call in enumerate(node.calls)
            if call.state is CallState.RUNNING
        ]

    def end_call(self, place: int, index: int, kind: str | None) -> None:
        """The carrier of a call ends; `kind` of its failure. A second end of the same carrier changes nothing."""
        call = self.nodes[place].calls[index]
        if call.state is not CallState.RUNNING:
            return
        call.go(
            CallState.COMPLETED if kind is None else CallState.CANCELLED if kind == "cancelled" else CallState.FAILED
        )
        call.kind = kind

    def give_back(self, place: int, index: int) -> None:
        """A carrier ended without having reached a call."""
        call = self.nodes[place].calls[index]
        if call.state is CallState.RUNNING:
            call.go(CallState.WAITING)

    def retry(self) -> None:
        """A person lets a run go on from what failed."""
        if self.state not in {RunState.FAILED, RunState.CANCELLED, RunState.TIMEOUT}:
            return
        stood_for = {
            primary
            for place, node in enumerate(self.nodes)
            if node.state is NodeState.COMPLETED
            for primary in self.layout.stands_for[place]
        }
        for place, node in enumerate(self.nodes):
            if node.state in {NodeState.FAILED, NodeState.CANCELLED, NodeState.SKIPPED} and place not in stood_for:
                self.go(place, NodeState.PENDING)
                node.ends, node.not_before, node.decision = 0, None, None
                for call in node.calls:
                    if call.state in {CallState.FAILED, CallState.CANCELLED}:
                        call.go(CallState.WAITING)
                        call.kind, call.ends, call.tries = None, 0, 0
        self.state = RunState.RUNNING
        self.cancel_requested, self.deadline_at = False, None
