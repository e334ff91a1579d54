"""No sequence of ends, failures, duplicates, lost hints, restarts, cancels and pauses breaks a promise of a run.

The promises stand in docs/reference/run-invariants.md; support/workflows/model checks them at each step.
"""

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mecapy_platform.core.workflows.advance import CONTINUE, FAIL_FAST
from mecapy_platform.core.workflows.graph import Body, Case, Edge, Graph, ItemFailure, Node, NodeKind, RetryRule
from mecapy_platform.core.workflows.layout import Layout, layout_of
from mecapy_platform.core.workflows.states import NODE_FINAL, NodeState, RunState
from support.workflows.model import ModelRun

KINDS = [
    *(NodeKind.FUNCTION, NodeKind.FUNCTION, NodeKind.MAP, NodeKind.LOOP, NodeKind.CONSTANT),
    *(NodeKind.APPROVAL, NodeKind.DELAY, NodeKind.IF),
]
FAILURES = ["user_error", "timeout", "out_of_memory", "lost_machine", "cancelled"]
BODY = (Case(None, Body()),)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Graphs without cycles: a node reads earlier ones, a fallback only what comes before the node it stands for."""
    count = draw(st.integers(1, 7))
    sources = [sorted(draw(st.sets(st.integers(0, place - 1), max_size=2))) if place else [] for place in range(count)]
    after = [sorted(draw(st.sets(st.integers(0, place - 1), max_size=1))) if place else [] for place in range(count)]
    last = count - 1 if count > 1 and draw(st.booleans()) else None
    if last is not None:
        sources[last], after[last] = [], []
    fallbacks: dict[int, int] = {}
    for place in range(count):
        if place + 1 < count and place + 1 != last and draw(st.integers(0, 3)) == 0:
            fallbacks[place] = place + 1
            first = place
            while first - 1 in fallbacks:
                first -= 1
            sources[place + 1] = [item for item in sources[place + 1] if item < first]
            after[place + 1] = [item for item in after[place + 1] if item < first]
    nodes = {}
    for place in range(count):
        kind = draw(st.sampled_from(KINDS))
        nodes[f"n{place}"] = Node(
            key=f"n{place}",
            kind=kind,
            cases=BODY,
            parallel=draw(st.integers(1, 3)),
            on_item_failure=draw(st.sampled_from(list(ItemFailure))),
            retry=RetryRule(max=draw(st.integers(0, 2)), backoff_seconds=5),
            after=tuple(f"n{item}" for item in after[place]),
            fallback=f"n{fallbacks[place]}" if place in fallbacks else None,
        )
    edges = tuple(
        Edge(f"n{source}", "value", f"n{place}", f"p{source}") for place in range(count) for source in sources[place]
    )
    return layout_of(Graph(nodes, edges, None if last is None else f"n{last}"))


class Runs(RuleBasedStateMachine):
    """Advances come when they come: after an end, twice, or not at all for a while."""

    run: ModelRun

    @initialize(layout=layouts(), policy=st.sampled_from([FAIL_FAST, CONTINUE]), size=st.integers(0, 5))
    def begin(self, layout: Layout, policy: str, size: int) -> None:
        sizes = {place: size if node.kind is NodeKind.MAP else max(1, size) for place, node in enumerate(layout.nodes)}
        self.run = ModelRun(layout, policy, sizes)
        self.run.advance()

    @rule()
    def advance(self) -> None:
        self.run.advance()

    @precondition(lambda self: self.run.running())
    @rule(data=st.data(), kind=st.sampled_from([None, None, None, *FAILURES]), is_advanced=st.booleans())
    def end_a_call(self, data: Any, kind: str | None, is_advanced: bool) -> None:
        place, index = data.draw(st.sampled_from(self.run.running()))
        self.run.end_call(place, index, kind)
        self.run.end_call(place, index, "lost_machine")
        if is_advanced:
            self.run.advance()

    @precondition(lambda self: self.run.running())
    @rule(data=st.data())
    def give_a_call_back(self, data: Any) -> None:
        self.run.give_back(*data.draw(st.sampled_from(self.run.running())))

    @rule(seconds=st.sampled_from([1, 30, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.run.now += timedelta(seconds=seconds)

    @rule(data=st.data(), decision=st.sampled_from(["approve", "reject"]))
    def a_person_decides(self, data: Any, decision: str) -> None:
        nodes = self.run.layout.nodes
        open_ = [
            place
            for place, node in enumerate(self.run.nodes)
            if node.state is NodeState.WAITING and nodes[place].kind is NodeKind.APPROVAL and node.decision is None
        ]
        if open_:
            self.run.nodes[data.draw(st.sampled_from(open_))].decision = decision

    @rule()
    def pause(self) -> None:
        if self.run.state in {RunState.PENDING, RunState.RUNNING}:
            self.run.state = RunState.PAUSED

    @rule()
    def resume(self) -> None:
        if self.run.state is RunState.PAUSED:
            self.run.state = RunState.RUNNING

    @rule(is_held=st.booleans())
    def hold(self, is_held: bool) -> None:
        self.run.is_held = is_held

    @precondition(lambda self: not self.run.state.is_final)
    @rule(chance=st.integers(0, 3))
    def cancel(self, chance: int) -> None:
        if chance == 0:
            self.run.cancel_requested = True

    @precondition(lambda self: not self.run.state.is_final)
    @rule(chance=st.integers(0, 3), seconds=st.integers(0, 60))
    def a_deadline_is_set(self, chance: int, seconds: int) -> None:
        if chance == 0 and self.run.deadline_at is None:
            self.run.deadline_at = self.run.now + timedelta(seconds=seconds)

    @rule()
    def retry(self) -> None:
        self.run.retry()

    @invariant()
    def what_has_ended_well_was_given_what_it_reads(self) -> None:
        if not hasattr(self, "run"):
            return
        for place, node in enumerate(self.run.nodes):
            if node.state is NodeState.COMPLETED:
                assert all(map(self.run.has_given, self.run.layout.sources[place]))

    @invariant()
    def a_run_that_has_ended_has_nothing_left(self) -> None:
        if hasattr(self, "run") and self.run.state.is_final:
            assert {node.state for node in self.run.nodes} <= NODE_FINAL
            assert not self.run.running()

    def teardown(self) -> None:
        """Whatever happened, a run that is let go, and whose calls end, comes to its end."""
        if not hasattr(self, "run"):
            return
        self.run.is_held = False
        if self.run.state is RunState.PAUSED:
            self.run.state = RunState.RUNNING
        for _ in range(200):
            if self.run.state.is_final:
                return
            self.run.advance()
            for place, index in self.run.running():
                self.run.end_call(place, index, None)
            for node in self.run.nodes:
                node.decision = node.decision or "approve"
            self.run.now += timedelta(hours=2)
        raise AssertionError("a run comes to its end")


Runs.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRuns = Runs.TestCase
