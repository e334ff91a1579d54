"""Runs over real PostgreSQL under random sequences of what may happen to them; the test keeps a ledger of its own.

The promises stand in docs/reference/run-invariants.md; test_advance_stateful.py tries the decisions alone.
"""

import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from mecapy_platform.core.errors import ConflictError
from mecapy_platform.core.states import TaskState
from mecapy_platform.core.workflows.states import CALL_FINAL, NODE_FINAL, RunState
from mecapy_platform.services.runs import acts
from mecapy_platform.services.runs.due import DueRuns
from mecapy_platform.services.work import unit
from support.workflows.runs import Bench, add, bench, everything

NODE_FINALS = {state.value for state in NODE_FINAL}
CALL_FINALS = {state.value for state in CALL_FINAL}
OPEN_TASKS = text("""
SELECT count(*) FROM tasks t JOIN runs r ON r.id = t.run_id
WHERE (r.id = :run_id OR r.root_run_id = :run_id) AND t.state IN ('queued', 'running')
""")
REPEATED = text("""
SELECT count(*) - count(DISTINCT (t.node_id, t.name)) FROM tasks t JOIN runs r ON r.id = t.run_id
WHERE r.id = :run_id OR r.root_run_id = :run_id
""")
OF_ENDED_CALLS = text("""
SELECT count(*) FROM tasks t JOIN calls c ON c.node_id = t.node_id AND c.task_id <> t.id AND c.state = 'running'
    AND t.name = (SELECT u.name FROM tasks u WHERE u.id = c.task_id)
WHERE c.run_id = :run_id AND t.state IN ('queued', 'running')
""")


class RunsOfADatabase(RuleBasedStateMachine):
    made: ClassVar[Bench]
    looks: ClassVar[int] = 0
    run_id: UUID

    @initialize(count=st.sampled_from([0, 2, 4]), policy=st.sampled_from(["fail_fast", "continue"]))
    def begin(self, count: int, policy: str) -> None:
        self.count = count
        self.ended: dict[str, str] = {}
        self.has_interfered = False
        self.run_id = self.made.submit(everything(self.made), {"n": count}, failure_policy=policy)

    @precondition(lambda self: self.made.tasks(self.run_id))
    @rule(data=st.data(), fails=st.sampled_from([False, False, False, True]), advances=st.booleans())
    def a_task_ends(self, data: Any, fails: bool, advances: bool) -> None:
        tasks = self.made.tasks(self.run_id)
        task = tasks[data.draw(st.sampled_from(sorted(tasks)))]
        if fails:
            self.has_interfered = True
            self.made.end(task, state=TaskState.FAILED, advances=advances)
            return
        self.made.end(task, self.given(task), advances=advances)

    @rule()
    def somebody_advances_it(self) -> None:
        self.made.advance(self.run_id)

    @rule()
    def the_relay_comes_by(self) -> None:
        self.made.age_marks()
        DueRuns(self.made.worker, self.made.tools, lambda _: None).advance_lost()

    @rule(what=st.sampled_from([acts.pause, acts.resume, acts.cancel, acts.retry]), chance=st.integers(0, 2))
    def a_person_acts(self, what: Any, chance: int) -> None:
        if chance:
            return
        self.has_interfered |= what is acts.cancel
        actor = self.made.actor
        if what is acts.retry:
            self.ended.clear()
        with suppress(ConflictError), unit(self.made.app, actor.organization_ids, actor.user_id) as session:
            what(session, actor, self.run_id, self.made.tools_of(actor))

    @invariant()
    def a_node_that_has_ended_stays_so(self) -> None:
        if not hasattr(self, "run_id"):
            return
        now = {key: state for key, state in self.made.states(self.run_id).items() if state in NODE_FINALS}
        RunsOfADatabase.looks += 1
        assert self.ended.items() <= now.items()
        self.ended = now

    @invariant()
    def a_run_ends_when_nothing_is_left(self) -> None:
        if hasattr(self, "run_id") and RunState(self.made.run(self.run_id).state).is_final:
            assert set(self.made.states(self.run_id).values()) <= NODE_FINALS
            assert self.open_tasks() == 0

    @invariant()
    def no_call_has_two_carriers(self) -> None:
        if hasattr(self, "run_id"):
            with self.made.worker.transaction() as session:
                assert session.scalar(OF_ENDED_CALLS, {"run_id": self.run_id}) == 0

    def teardown(self) -> None:
        if not hasattr(self, "run_id"):
            return
        for _ in range(100):
            run = self.made.run(self.run_id)
            if RunState(run.state).is_final:
                break
            if run.state == RunState.PAUSED:
                actor = self.made.actor
                with unit(self.made.app, actor.organization_ids, actor.user_id) as session:
                    acts.resume(session, actor, self.run_id, self.made.tools_of(actor))
            self.the_relay_comes_by()
            for task in self.made.tasks(self.run_id).values():
                self.made.end(task, self.given(task), advances=False)
        self.the_relay_comes_by()
        run = self.made.run(self.run_id)
        assert RunState(run.state).is_final
        assert self.made.marks(self.run_id) == 0
        assert {call.state for key in self.made.states(self.run_id) for call in self.made.calls(self.run_id, key)} <= (
            CALL_FINALS
        )
        if not self.has_interfered:
            assert run.state == RunState.COMPLETED
            with self.made.worker.transaction() as session:
                assert session.scalar(REPEATED, {"run_id": self.run_id}) == 0

    def given(self, task: Any) -> dict[str, Any]:
        if "count" in task.inputs:
            return {"parts": [float(number) for number in range(task.inputs["count"])]}
        return add(task)

    def open_tasks(self) -> int:
        with self.made.worker.transaction() as session:
            return session.scalar(OPEN_TASKS, {"run_id": self.run_id}) or 0


def test_runs_keep_their_promises_whatever_happens() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mecapy-runs-"))
        RunsOfADatabase.made = stack.enter_context(bench(Path(folder)))
        chosen = settings(
            max_examples=10,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a smaller example would take minutes
        )
        run_state_machine_as_test(RunsOfADatabase, settings=chosen)
        assert RunsOfADatabase.looks > 50
