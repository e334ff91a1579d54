"""What core/workflows/advance decides, rule by rule, on small graphs."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.workflows.advance import CONTINUE, Decision, Failure, LiveFacts, RunFacts, decide
from mecapy_platform.core.workflows.graph import Body, Case, Edge, Graph, ItemFailure, Node, NodeKind, RetryRule
from mecapy_platform.core.workflows.layout import Layout, layout_of
from mecapy_platform.core.workflows.states import NodeState, RunState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILED = LiveFacts(failed=1, failure=Failure("user_error", "failed", "It broke."))
DONE = LiveFacts(completed=1)
BUSY = LiveFacts(running=1)


def graph(text: str, *, on_failure: str | None = None, **nodes: Any) -> Layout:
    """`a b>c`: nodes, and edges between them; further fields of nodes by key."""
    keys = dict.fromkeys(key for part in text.split() for key in part.split(">"))
    links = [part.split(">") for part in text.split() if ">" in part]
    made = {
        key: Node(**{"key": key, "kind": NodeKind.FUNCTION, "cases": (Case(None, Body()),), **nodes.get(key, {})})
        for key in keys
    }
    return layout_of(Graph(made, tuple(Edge(*(source, "out", target, "in")) for source, target in links), on_failure))


def run(state: RunState = RunState.RUNNING, **facts: Any) -> RunFacts:
    return RunFacts(state=state, now=facts.pop("now", NOW), **facts)


def decided(
    layout: Layout, states: str, live: Mapping[str, LiveFacts] | None = None, facts: RunFacts | None = None
) -> Decision:
    """`states`: a letter for each node in the order of places: p w r c f x s."""
    letters: dict[str, NodeState] = {state.value[0]: state for state in NodeState}
    letters |= {"x": NodeState.CANCELLED, "c": NodeState.COMPLETED}
    found = {layout.places[key]: value for key, value in (live or {}).items()}
    return decide(layout, facts or run(), [letters[letter] for letter in states], found)


def keys(layout: Layout, places: Any) -> list[str]:
    return [layout.nodes[place].key for place in places]


def ends(layout: Layout, decision: Decision) -> dict[str, str]:
    return {layout.nodes[ended.place].key: ended.state.value for ended in decision.ends}


def test_what_is_ready_starts_at_once_and_the_run_with_it() -> None:
    layout = graph("a b a>c b>c")
    decision = decided(layout, "ppp", facts=run(RunState.PENDING))
    assert keys(layout, decision.starts) == ["a", "b"]
    assert decision.run is not None
    assert decision.run.state is RunState.RUNNING


def test_a_node_starts_when_all_its_sources_have_ended_well() -> None:
    layout = graph("a b a>c b>c")
    assert not decided(layout, "crp", {"b": BUSY}).acts
    decision = decided(layout, "crp", {"b": DONE})
    assert (ends(layout, decision), keys(layout, decision.starts)) == ({"b": "completed"}, ["c"])


def test_a_run_without_nodes_ends_at_once() -> None:
    decision = decided(graph(""), "", facts=run(RunState.PENDING))
    assert decision.run is not None
    assert decision.run.state is RunState.COMPLETED


def test_after_a_failure_nothing_new_starts_and_what_runs_ends() -> None:
    layout = graph("a b a>c b>d")
    first = decided(layout, "rrpp", {"a": FAILED, "b": BUSY})
    assert (ends(layout, first), first.starts, first.run) == ({"a": "failed", "c": "cancelled"}, [], None)
    second = decided(layout, "frxp", {"b": DONE})
    assert (ends(layout, second), second.starts) == ({"b": "completed", "d": "cancelled"}, [])
    assert second.run is not None
    assert (second.run.state, second.run.failed) == (RunState.FAILED, layout.places["a"])


def test_with_continue_the_rest_goes_on() -> None:
    layout = graph("a b a>c b>d")
    decision = decided(layout, "frxp", {"b": DONE}, run(policy=CONTINUE))
    assert keys(layout, decision.starts) == ["d"]


def test_a_failed_node_waits_before_it_is_tried_again() -> None:
    layout = graph("a", a={"retry": RetryRule(max=2, backoff_seconds=10, jitter=0.0)})
    first = decided(layout, "r", {"a": FAILED})
    assert first.retries == [(0, NOW + timedelta(seconds=10))]
    again = LiveFacts(waiting=1, tries=2, not_before=NOW + timedelta(seconds=10))
    early = decided(layout, "w", {"a": again})
    assert (early.acts, early.wake_at) == (False, NOW + timedelta(seconds=10))
    assert decided(layout, "w", {"a": again}, run(now=NOW + timedelta(seconds=10))).feeds == [(0, 1)]
    second = LiveFacts(failed=1, tries=2, failure=FAILED.failure)
    assert decided(layout, "r", {"a": second}).retries == [(0, NOW + timedelta(seconds=20))]
    third = LiveFacts(failed=1, tries=3, failure=FAILED.failure)
    assert ends(layout, decided(layout, "r", {"a": third})) == {"a": "failed"}


@pytest.mark.parametrize(("kind", "is_tried"), [("timeout", True), ("user_error", False), ("cancelled", False)])
def test_only_the_named_kinds_of_failure_are_tried_again(kind: str, is_tried: bool) -> None:
    layout = graph("a", a={"retry": RetryRule(max=1, on=("timeout",))})
    facts = LiveFacts(failed=1, failure=Failure(kind, "c", "m"))
    assert bool(decided(layout, "r", {"a": facts}).retries) is is_tried


def test_jitter_is_the_same_for_each_look() -> None:
    layout = graph("a", a={"retry": RetryRule(max=1, backoff_seconds=100, jitter=0.5)})
    moments = {decided(layout, "r", {"a": FAILED}, run(seed=seed)).retries[0][1] for seed in "xxxy"}
    assert len(moments) == 2
    assert all(NOW + timedelta(seconds=50) <= moment <= NOW + timedelta(seconds=100) for moment in moments)


def test_a_map_is_fed_as_far_as_it_may_and_collects_at_its_end() -> None:
    layout = graph("a", a={"kind": NodeKind.MAP, "parallel": 4})
    assert decided(layout, "r", {"a": LiveFacts(waiting=9, running=3)}).feeds == [(0, 1)]
    assert not decided(layout, "r", {"a": LiveFacts(waiting=9, running=4)}).acts
    assert decided(layout, "r", {"a": LiveFacts()}).collects == [0]
    wide = graph("a", a={"kind": NodeKind.MAP, "parallel": 40})
    assert not decided(wide, "r", {"a": LiveFacts(waiting=99, running=31)}).acts
    assert decided(wide, "r", {"a": LiveFacts(waiting=99, running=30)}).feeds == [(0, 10)]
    assert decided(wide, "r", {"a": LiveFacts(waiting=2, running=38)}).feeds == [(0, 2)]


def test_a_failed_item_ends_its_map_unless_that_says_otherwise() -> None:
    facts = LiveFacts(waiting=2, running=1, failed=1, failure=Failure("user_error", "c", "m", 7))
    strict = graph("a", a={"kind": NodeKind.MAP})
    assert decided(strict, "r", {"a": facts}).drops == [0]
    ended = decided(strict, "r", {"a": LiveFacts(failed=1, failure=facts.failure)}).ends[0]
    assert (ended.state, ended.message) == (NodeState.FAILED, "Item 7: m")
    lenient = graph("a", a={"kind": NodeKind.MAP, "on_item_failure": ItemFailure.SKIP})
    assert decided(lenient, "r", {"a": facts}).feeds == [(0, 2)]


def test_a_loop_is_looked_at_after_each_iteration() -> None:
    layout = graph("a", a={"kind": NodeKind.LOOP})
    assert decided(layout, "r", {"a": DONE}).iterates == [0]
    assert ends(layout, decided(layout, "r", {"a": FAILED})) == {"a": "failed"}


def test_a_skipped_branch_skips_what_reads_it_but_not_what_only_comes_after() -> None:
    layout = graph("a a>b c", c={"after": ("a",)})
    decision = decided(layout, "spp")
    assert (ends(layout, decision), keys(layout, decision.starts)) == ({"b": "skipped"}, ["c"])


def test_a_fallback_runs_for_a_failed_node_alone() -> None:
    layout = graph("a f a>b", a={"fallback": "f"})
    assert layout.places["f"] < layout.places["b"]
    failed = decided(layout, "rpp", {"a": FAILED})
    assert (ends(layout, failed), keys(layout, failed.starts)) == ({"a": "failed"}, ["f"])
    stood_in = decided(layout, "frp", {"f": DONE})
    assert keys(layout, stood_in.starts) == ["b"]
    well = decided(layout, "rpp", {"a": DONE})
    assert (ends(layout, well), keys(layout, well.starts)) == ({"a": "completed", "f": "skipped"}, ["b"])
    both = decided(layout, "frp", {"f": FAILED})
    assert ends(layout, both) == {"f": "failed", "b": "cancelled"}
    assert both.run is not None
    assert both.run.state is RunState.FAILED


def test_what_waits_for_a_failure_starts_when_all_else_has_ended() -> None:
    layout = graph("a b h", on_failure="h")
    assert not decided(layout, "rrp", {"a": FAILED, "b": BUSY}).starts
    last = decided(layout, "frp", {"b": DONE})
    assert (keys(layout, last.starts), last.run) == (["h"], None)
    assert ends(layout, decided(layout, "ccp")) == {"h": "skipped"}


def test_a_cancelled_run_stops_what_runs_and_ends_with_it() -> None:
    layout = graph("a a>b")
    first = decided(layout, "rp", {"a": BUSY}, run(cancel_requested=True))
    assert (first.stops, ends(layout, first), first.run) == ([0], {"b": "cancelled"}, None)
    last = decided(layout, "rx", {"a": LiveFacts(cancelled=1)}, run(cancel_requested=True))
    assert ends(layout, last) == {"a": "cancelled"}
    assert last.run is not None
    assert last.run.state is RunState.CANCELLED


def test_a_run_that_had_ended_well_before_its_cancel_is_completed() -> None:
    decision = decided(graph("a"), "r", {"a": DONE}, run(cancel_requested=True))
    assert decision.run is not None
    assert decision.run.state is RunState.COMPLETED


def test_a_deadline_wakes_a_run_and_ends_it() -> None:
    layout = graph("a")
    later = NOW + timedelta(seconds=9)
    assert decided(layout, "r", {"a": BUSY}, run(deadline_at=later)).wake_at == later
    ended = decided(layout, "r", {"a": LiveFacts(waiting=1)}, run(deadline_at=NOW))
    assert ended.run is not None
    assert ended.run.state is RunState.TIMEOUT


def test_a_node_that_takes_too_long_fails() -> None:
    layout = graph("a", a={"kind": NodeKind.MAP, "timeout_seconds": 5})
    assert decided(layout, "r", {"a": LiveFacts(running=1, timeout_at=NOW)}).stops == [0]
    assert decided(layout, "r", {"a": LiveFacts(cancelled=1, timeout_at=NOW)}).ends[0].code == "node_timeout"


@pytest.mark.parametrize("facts", [run(RunState.PAUSED), run(is_held=True)], ids=["paused", "held"])
def test_nothing_starts_in_a_run_that_may_not(facts: RunFacts) -> None:
    layout = graph("a a>b c", c={"kind": NodeKind.MAP})
    decision = decided(layout, "rpr", {"a": DONE, "c": LiveFacts(waiting=3)}, facts)
    assert (ends(layout, decision), decision.starts, decision.feeds) == ({"a": "completed"}, [], [])
    assert decision.run is None


def test_an_approval_goes_by_its_person_or_its_deadline() -> None:
    layout = graph("a", a={"kind": NodeKind.APPROVAL})
    assert not decided(layout, "w", {"a": LiveFacts()}).acts
    for decision, state in (("approve", "completed"), ("reject", "failed")):
        assert ends(layout, decided(layout, "w", {"a": LiveFacts(decision=decision)})) == {"a": state}
    assert decided(layout, "w", {"a": LiveFacts(not_before=NOW)}).ends[0].code == "approval_expired"


def test_a_delay_ends_at_its_moment() -> None:
    layout = graph("a", a={"kind": NodeKind.DELAY})
    moment = NOW + timedelta(seconds=1)
    assert decided(layout, "w", {"a": LiveFacts(not_before=moment)}).wake_at == moment
    assert ends(layout, decided(layout, "w", {"a": LiveFacts(not_before=NOW)})) == {"a": "completed"}


def test_a_circle_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="wait for each other"):
        graph("a>b b>a")
    with pytest.raises(InvalidInputError, match="wait for each other"):
        graph("a f g", a={"fallback": "f"}, f={"fallback": "g"}, g={"after": ("a",)})


def test_a_graph_of_five_thousand_nodes_is_decided_by_looking_at_each_edge_once() -> None:
    """Counted, not timed: a wide and a deep graph."""
    text = " ".join(f"n{number}>n{number + 1}" for number in range(4_999))
    deep = graph(text)
    assert keys(deep, decided(deep, "c" * 2_500 + "p" * 2_500).starts) == ["n2500"]
    assert len(decided(deep, "f" + "p" * 4_999).ends) == 4_999
    wide = graph(" ".join(f"s>n{number} n{number}>t" for number in range(4_998)))
    assert len(decided(wide, "c" + "p" * 4_999).starts) == 4_998
