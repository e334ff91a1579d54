"""What is to be done about a run now: from its layout and the states of its nodes, without looking at anything else.

`decide` may be asked again and in any order: once what it said has been done, it says nothing more until something ends
or a moment comes.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from heapq import heappop, heappush

from mecapy_platform.core.workflows.graph import ItemFailure, Node, NodeKind
from mecapy_platform.core.workflows.layout import Layout
from mecapy_platform.core.workflows.states import NODE_FINAL, NodeState, RunState

FAIL_FAST, CONTINUE = "fail_fast", "continue"
BACKOFF_MAX_SECONDS = 3600.0
SINGLE = frozenset({NodeKind.FUNCTION, NodeKind.WORKFLOW, NodeKind.IF, NodeKind.SWITCH})
LIVE = frozenset({NodeState.RUNNING, NodeState.WAITING})


@dataclass(frozen=True)
class Failure:
    """`kind` as in a manifest's `retries.on`; `index` of the item or iteration."""

    kind: str
    code: str
    message: str
    index: int = 0


@dataclass(frozen=True)
class RunFacts:
    """`is_held`: nothing may start, here or until a person has seen to it. `seed` spreads retries, always the same."""

    state: RunState
    now: datetime
    policy: str = FAIL_FAST
    cancel_requested: bool = False
    deadline_at: datetime | None = None
    is_held: bool = False
    seed: str = ""

    @property
    def stop(self) -> RunState | None:
        """What ends the run before its nodes have ended."""
        if self.cancel_requested:
            return RunState.CANCELLED
        return RunState.TIMEOUT if self.deadline_at is not None and self.deadline_at <= self.now else None


@dataclass(frozen=True)
class LiveFacts:
    """Of a node that runs or waits: its calls by state, the tries so far, and what was decided by a person."""

    waiting: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    tries: int = 1
    failure: Failure | None = None
    not_before: datetime | None = None
    timeout_at: datetime | None = None
    decision: str | None = None


@dataclass(frozen=True)
class Ended:
    place: int
    state: NodeState
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class RunEnd:
    state: RunState
    failed: int | None = None


@dataclass
class Decision:
    """What is to be done, in this order.

    Attributes
    ----------
    ends : nodes that end
    collects : maps whose items have all ended: their outputs are collected, and they end with that
    stops : running nodes whose calls are to be cancelled, those that wait and those that are carried
    drops : running nodes of whose calls only the waiting ones are cancelled
    retries : nodes that wait until the moment for another try
    feeds : running nodes of which so many waiting calls may be carried
    iterates : loops whose last iteration has ended well: another follows or they end
    starts : nodes that start
    run : the run begins or ends
    wake_at : when to look again though nothing has ended
    """

    ends: list[Ended] = field(default_factory=list)
    collects: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    retries: list[tuple[int, datetime]] = field(default_factory=list)
    feeds: list[tuple[int, int]] = field(default_factory=list)
    iterates: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    run: RunEnd | None = None
    wake_at: datetime | None = None

    @property
    def acts(self) -> bool:
        """Whether anything is to be done. A stop that was asked for before is asked for again, and changes nothing."""
        return bool(
            self.ends or self.collects or self.drops or self.retries or self.feeds or self.iterates or self.starts
        ) or (self.run is not None)


class Standing(Enum):
    """How a source stands for who reads it."""

    OPEN = 0
    GOOD = 1
    SKIPPED = 2
    BAD = 3


STANDINGS = {
    NodeState.COMPLETED: Standing.GOOD,
    NodeState.SKIPPED: Standing.SKIPPED,
    NodeState.CANCELLED: Standing.BAD,
    NodeState.FAILED: Standing.BAD,
}
STOPPED = {
    RunState.CANCELLED: ("run_cancelled", "The run was cancelled."),
    RunState.TIMEOUT: ("run_timeout", "The run came to its deadline."),
}
UPSTREAM = ("upstream_failed", "A node that it depends on did not end well.")
FAST = ("run_failed", "Another node failed, and the run starts nothing new after a failure.")


def decide(
    layout: Layout, run: RunFacts, states: Sequence[NodeState], live: Mapping[int, LiveFacts] | None = None
) -> Decision:
    """What is to be done now. `states` by place; `live`: of each node that runs or waits."""
    return Course(layout, run, states).next(live or {})


class Course:
    """A run while it is advanced: what has been decided counts for what is decided next, before it is stored."""

    def __init__(self, layout: Layout, run: RunFacts, states: Sequence[NodeState]) -> None:
        self.layout, self.run = layout, run
        self.states = list(states)
        self._live = {place for place, state in enumerate(states) if state in LIVE}
        self._pending = {place for place, state in enumerate(states) if state is NodeState.PENDING}
        self._failed = {place for place, state in enumerate(states) if state is NodeState.FAILED}
        self._queue = [place for place in sorted(self._pending) if self._may_be_ready(place)]
        self._candidates: set[int] = set()
        self._queued = set(self._queue)
        self._has_begun = run.state is not RunState.PENDING
        self._has_ended = run.state.is_final

    def settle(self, place: int, state: NodeState) -> None:
        """A node is in another state now."""
        self.states[place] = state
        for group, wanted in (
            (self._pending, {NodeState.PENDING}),
            (self._live, LIVE),
            (self._failed, {NodeState.FAILED}),
        ):
            if state in wanted:
                group.add(place)
            else:
                group.discard(place)
        if state in NODE_FINAL:
            for dependent in self.layout.dependents[place]:
                if dependent in self._pending and dependent not in self._queued:
                    self._queued.add(dependent)
                    heappush(self._queue, dependent)

    def next(self, live: Mapping[int, LiveFacts]) -> Decision:
        """What is to be done now, counted as done. `live`: of nodes that run or wait, as they were read."""
        decision = Decision()
        for place in sorted(self._live & live.keys()):
            self._look_at_live(decision, place, live[place])
        for ended in decision.ends:
            self.settle(ended.place, ended.state)
        self._look_at_pending(decision)
        self._start(decision)
        self._end(decision)
        return decision

    def unhandled(self) -> list[int]:
        """Nodes that failed and that no fallback stands for any more."""
        return [place for place in sorted(self._failed) if self._standing(place) is Standing.BAD]

    @property
    def _may_start(self) -> bool:
        return self.run.stop is None and self.run.state is not RunState.PAUSED and not self.run.is_held

    @property
    def _has_failed_fast(self) -> bool:
        return self.run.policy == FAIL_FAST and bool(self.unhandled())

    def _standing(self, place: int) -> Standing:
        seen = 0
        while self.states[place] is NodeState.FAILED and (stand_in := self.layout.fallback[place]) is not None:
            if seen > len(self.layout.nodes):
                return Standing.BAD
            place, seen = stand_in, seen + 1
        found = STANDINGS.get(self.states[place], Standing.OPEN)
        return Standing.BAD if seen and found is Standing.SKIPPED else found

    # Nodes that run or wait

    def _look_at_live(self, decision: Decision, place: int, facts: LiveFacts) -> None:
        node = self.layout.nodes[place]
        if self.run.stop is not None:
            self._stop(decision, place, facts, NodeState.CANCELLED, *STOPPED[self.run.stop])
        elif self.states[place] is NodeState.WAITING:
            self._look_at_waiting(decision, place, node, facts)
        elif facts.timeout_at is not None and facts.timeout_at <= self.run.now:
            message = f"The node took longer than its {node.timeout_seconds:g} s."
            self._stop(decision, place, facts, NodeState.FAILED, "node_timeout", message)
        else:
            self._wake(decision, facts.timeout_at)
            if node.kind is NodeKind.MAP:
                self._look_at_map(decision, place, node, facts)
            else:
                self._look_at_single(decision, place, node, facts)

    def _stop(
        self, decision: Decision, place: int, facts: LiveFacts, state: NodeState, code: str, message: str
    ) -> None:
        """Nothing of a node goes on; it has ended once nothing of it is carried."""
        node = self.layout.nodes[place]
        if node.kind in SINGLE and facts.completed and self.states[place] is NodeState.RUNNING:
            decision.ends.append(Ended(place, NodeState.COMPLETED))
        elif facts.running:
            decision.stops.append(place)
        else:
            if facts.waiting:
                decision.drops.append(place)
            decision.ends.append(Ended(place, state, code, message))

    def _look_at_waiting(self, decision: Decision, place: int, node: Node, facts: LiveFacts) -> None:
        is_due = facts.not_before is not None and facts.not_before <= self.run.now
        if self._has_failed_fast and place != self.layout.on_failure:
            self._stop(decision, place, facts, NodeState.CANCELLED, *FAST)
        elif node.kind is NodeKind.APPROVAL and (facts.decision or is_due):
            decision.ends.append(_approved(place, node, facts.decision))
        elif node.kind is NodeKind.DELAY and is_due:
            decision.ends.append(Ended(place, NodeState.COMPLETED))
        elif is_due and self._may_start:
            decision.feeds.append((place, 1))
        elif not is_due:
            self._wake(decision, facts.not_before)

    def _look_at_single(self, decision: Decision, place: int, node: Node, facts: LiveFacts) -> None:
        if facts.running:
            return
        failure = facts.failure
        if facts.waiting:
            if self._may_start:
                decision.feeds.append((place, 1))
        elif failure is None:
            if node.kind is not NodeKind.LOOP:
                decision.ends.append(Ended(place, NodeState.COMPLETED))
            elif self._may_start:
                decision.iterates.append(place)
        elif self._is_tried_again(place, node, facts, failure):
            moment = self.run.now + timedelta(seconds=self._backoff(node, facts.tries))
            decision.retries.append((place, moment))
            self._wake(decision, moment)
        else:
            decision.ends.append(Ended(place, NodeState.FAILED, failure.code, failure.message))

    def _is_tried_again(self, place: int, node: Node, facts: LiveFacts, failure: Failure) -> bool:
        is_allowed = failure.kind in node.retry.on and facts.tries <= node.retry.max
        return is_allowed and (place == self.layout.on_failure or not self._has_failed_fast)

    def _look_at_map(self, decision: Decision, place: int, node: Node, facts: LiveFacts) -> None:
        failure = facts.failure
        if failure is not None and node.on_item_failure is ItemFailure.FAIL:
            if facts.waiting:
                decision.drops.append(place)
            if not facts.running:
                message = f"Item {failure.index}: {failure.message}"
                decision.ends.append(Ended(place, NodeState.FAILED, failure.code, message))
        elif facts.waiting:
            free = node.parallel - facts.running
            is_worth_it = 4 * free >= node.parallel or facts.waiting <= free  # a few at a time cost as much as many
            if free > 0 and is_worth_it and self._may_start:
                decision.feeds.append((place, min(facts.waiting, free)))
        elif not facts.running:
            decision.collects.append(place)

    def _backoff(self, node: Node, tries: int) -> float:
        full = min(BACKOFF_MAX_SECONDS, node.retry.backoff_seconds * 2.0 ** min(tries - 1, 20))
        drawn = random.Random(f"{self.run.seed}:{node.key}:{tries}").random()  # noqa: S311 - spreads retries, no secret
        return full * (1.0 - node.retry.jitter * drawn)

    # Nodes that have not begun

    def _look_at_pending(self, decision: Decision) -> None:
        """In the order of places, so that what is cancelled or skipped is known before who reads it is looked at."""
        while self._queue:
            place = heappop(self._queue)
            self._queued.discard(place)
            if place not in self._pending or place == self.layout.on_failure:
                continue
            standing = self._readiness(place)
            if standing is Standing.GOOD:
                self._candidates.add(place)
            elif standing is Standing.SKIPPED:
                self._settle_unbegun(decision, place, NodeState.SKIPPED)
            elif standing is Standing.BAD:
                self._settle_unbegun(decision, place, NodeState.CANCELLED, *UPSTREAM)

    def _may_be_ready(self, place: int) -> bool:
        """Whether anything that it waits for has ended: of the others nothing can be said yet, and they are many."""
        waits = self.layout.waits[place]
        return not waits or any(self.states[source] in NODE_FINAL for source in waits)

    def _readiness(self, place: int) -> Standing:
        found = {self._standing(source) for source in self.layout.sources[place]}
        found |= {_without_value(self._standing(source)) for source in self.layout.after[place]}
        if Standing.BAD in found:
            return Standing.BAD
        stands_for = self.layout.stands_for[place]
        if any(self.states[primary] not in NODE_FINAL for primary in stands_for) or Standing.OPEN in found:
            return Standing.OPEN
        if stands_for and not any(self.states[primary] is NodeState.FAILED for primary in stands_for):
            return Standing.SKIPPED
        return Standing.SKIPPED if Standing.SKIPPED in found else Standing.GOOD

    def _settle_unbegun(
        self, decision: Decision, place: int, state: NodeState, code: str | None = None, message: str | None = None
    ) -> None:
        decision.ends.append(Ended(place, state, code, message))
        self._candidates.discard(place)
        self.settle(place, state)

    def _start(self, decision: Decision) -> None:
        if self.run.stop is not None:
            for place in sorted(self._pending):
                self._settle_unbegun(decision, place, NodeState.CANCELLED, *STOPPED[self.run.stop])
        if not self._may_start or self._has_failed_fast:
            return
        self._begin(decision, sorted(self._candidates))

    def _begin(self, decision: Decision, places: Iterable[int]) -> None:
        for place in places:
            self._candidates.discard(place)
            self._pending.discard(place)
            self._live.add(place)
            self.states[place] = NodeState.RUNNING
            decision.starts.append(place)

    # The run

    def _end(self, decision: Decision) -> None:
        stop = self.run.stop
        if self._has_ended:
            return
        if not self._live:
            self._clear(decision)
        if self._live or self._pending:
            self._wake(decision, self.run.deadline_at if stop is None else None)
            if not self._has_begun:
                self._has_begun = True
                decision.run = RunEnd(RunState.RUNNING)
            return
        self._has_ended = True
        failed = self.unhandled()
        state = RunState.COMPLETED
        if stop is not None and NodeState.CANCELLED in self.states:
            state = stop
        elif failed:
            state = RunState.FAILED
        decision.run = RunEnd(state, failed[0] if failed else None)

    def _clear(self, decision: Decision) -> None:
        """Nothing is under way: what can no longer start ends, and what waits for a failure may begin."""
        last = self.layout.on_failure
        if self._has_failed_fast:
            for place in sorted(self._pending - {last}):
                self._settle_unbegun(decision, place, NodeState.CANCELLED, *FAST)
        if last is None or self._pending != {last}:
            return
        if not self.unhandled():
            self._settle_unbegun(decision, last, NodeState.SKIPPED)
        elif self._readiness(last) is not Standing.GOOD:
            self._settle_unbegun(decision, last, NodeState.CANCELLED, *UPSTREAM)
        elif self._may_start:
            self._begin(decision, [last])

    def _wake(self, decision: Decision, moment: datetime | None) -> None:
        if moment is not None and (decision.wake_at is None or moment < decision.wake_at):
            decision.wake_at = moment


def _without_value(standing: Standing) -> Standing:
    """A node that was not needed has ended well for who only comes after it."""
    return Standing.GOOD if standing is Standing.SKIPPED else standing


def _approved(place: int, node: Node, decision: str | None) -> Ended:
    if (decision or node.on_expiry) == "approve":
        return Ended(place, NodeState.COMPLETED)
    if decision is None:
        return Ended(place, NodeState.FAILED, "approval_expired", "Nobody approved it before its deadline.")
    return Ended(place, NodeState.FAILED, "approval_rejected", "It was rejected.")
