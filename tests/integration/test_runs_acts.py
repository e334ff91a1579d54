"""What people do to runs: cancel, pause, resume, approve, retry, adopt; and moments that come: deadlines, back-off."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, update

from mecapy_platform.core.access import Actor
from mecapy_platform.core.errors import ConflictError, ForbiddenError, NotFoundError
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.tables import Membership, Upload
from mecapy_platform.db.workflow_tables import DueMark, RunNode, WorkflowRun, WorkflowVersion
from mecapy_platform.services.runs import acts
from mecapy_platform.services.runs.due import AT_ONCE, DueRuns
from mecapy_platform.services.work import unit
from support import factories
from support.workflows.runs import Bench, add, bench, given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("runs")) as found:
        yield found


def line(made: Bench, **first: Any) -> UUID:
    """Two nodes, one after the other."""
    nodes = [given("x"), made.function("first", **first), made.function("second")]
    edges = ["x.value > first.a", "x.value > first.b", "first.sum > second.a", "x.value > second.b"]
    return made.version(nodes, edges)


def act(made: Bench, what: Any, run_id: UUID, *arguments: Any, actor: Actor | None = None) -> WorkflowRun:
    actor = actor or made.actor
    with unit(made.app, actor.organization_ids, actor.user_id) as session:
        run: WorkflowRun = what(session, actor, run_id, *arguments, made.tools_of(actor))
        return run


def test_cancel_ends_what_waits_at_once_and_asks_what_runs(made: Bench) -> None:
    nodes = [given("x"), made.function("queued"), made.function("busy"), made.function("later")]
    edges = [f"x.value > {key}.{port}" for key in ("queued", "busy") for port in ("a", "b")]
    edges += ["busy.sum > later.a", "x.value > later.b"]
    run_id = made.submit(made.version(nodes, edges), {"x": 1.0})
    busy = made.tasks(run_id)["busy"]
    made.begin(busy)
    assert act(made, acts.cancel, run_id).state == "running"
    assert made.states(run_id) == {"queued": "cancelled", "busy": "running", "later": "cancelled"}
    assert made.tasks(run_id, "cancelled").keys() == {"queued"}
    assert made.tasks(run_id, "running")["busy"].cancel_requested_at is not None
    made.end(busy, state=TaskState.CANCELLED)
    run = made.run(run_id)
    assert (run.state, run.error_code) == ("cancelled", "run_cancelled")
    assert act(made, acts.cancel, run_id).state == "cancelled"


def test_cancel_reaches_runs_inside(made: Bench) -> None:
    inner = line(made)
    node = {"node_key": "inner", "node_kind": "workflow", "workflow_version_id": str(inner)}
    run_id = made.submit(made.version([given("x"), node], ["x.value > inner.x"]), {"x": 1.0})
    assert made.tasks(run_id).keys() == {"first"}
    assert act(made, acts.cancel, run_id).state == "cancelled"
    assert made.tasks(run_id, "cancelled").keys() == {"first"}
    child = made.calls(run_id, "inner")[0].child_run_id
    assert child is not None
    assert made.run(child).state == "cancelled"


def test_nothing_new_starts_in_a_paused_run(made: Bench) -> None:
    run_id = made.submit(line(made), {"x": 1.0})
    assert act(made, acts.pause, run_id).state == "paused"
    made.end(made.tasks(run_id)["first"], {"sum": 2.0})
    assert made.states(run_id) == {"first": "completed", "second": "pending"}
    assert act(made, acts.resume, run_id).state == "running"
    made.advance(run_id)
    assert made.serve(run_id, add) == 1
    assert made.run(run_id).state == "completed"


def test_a_run_goes_on_from_what_failed(made: Bench) -> None:
    run_id = made.submit(line(made), {"x": 1.0})
    made.end(made.tasks(run_id)["first"], state=TaskState.FAILED)
    assert made.run(run_id).state == "failed"
    assert act(made, acts.retry, run_id).state == "running"
    made.advance(run_id)
    assert made.serve(run_id, add) == 2
    run = made.run(run_id)
    assert (run.state, run.first_failed_node_key, run.error_message) == ("completed", None, None)
    with pytest.raises(ConflictError, match="can be tried again"):
        act(made, acts.retry, run_id)


def test_a_node_is_tried_again_after_its_pause(made: Bench) -> None:
    run_id = made.submit(line(made, retry={"max": 1, "backoff_seconds": 60, "jitter": 0}), {"x": 1.0})
    made.end(made.tasks(run_id)["first"], state=TaskState.FAILED)
    node = made.nodes(run_id)["first"]
    assert (node.state, made.run(run_id).state) == ("waiting", "running")
    assert made.run(run_id).wake_at == node.not_before
    made.advance(run_id)
    assert not made.tasks(run_id)
    with made.worker.transaction() as session:
        past = func.clock_timestamp() - timedelta(seconds=1)
        session.execute(update(RunNode).where(RunNode.id == node.id).values(not_before=past))
        session.execute(update(WorkflowRun).where(WorkflowRun.id == run_id).values(wake_at=past))
    relay(made)
    made.end(made.tasks(run_id)["first"], state=TaskState.FAILED)
    assert made.states(run_id) == {"first": "failed", "second": "cancelled"}
    assert made.run(run_id).state == "failed"


def test_a_node_that_is_given_up_before_another_try_leaves_no_call_that_waits(made: Bench) -> None:
    waiting = made.submit(line(made, retry={"max": 1, "backoff_seconds": 60, "jitter": 0}), {"x": 1.0})
    again = made.submit(line(made), {"x": 1.0})
    for run_id in (waiting, again):
        made.end(made.tasks(run_id)["first"], state=TaskState.FAILED)
    assert made.states(waiting)["first"] == "waiting"
    act(made, acts.retry, again)
    for run_id in (waiting, again):
        act(made, acts.cancel, run_id)
        made.advance(run_id)
        assert made.run(run_id).state == "cancelled"
        assert [call.state for call in made.calls(run_id, "first")] == ["cancelled"]


def test_a_cancelled_map_whose_items_had_all_ended_goes_on(made: Bench) -> None:
    nodes = [
        given("v", "list[Float]"),
        {"node_key": "each", "node_kind": "map", "over": ["a", "b"], "body": made.body()},
    ]
    version = made.version(nodes, ["v.value > each.a", "v.value > each.b"])
    run_id = made.submit(version, {"v": [1.0, 2.0]})
    for task in made.tasks(run_id).values():
        made.end(task, add(task), advances=False)
    act(made, acts.cancel, run_id)
    assert made.run(run_id).state == "cancelled"
    act(made, acts.retry, run_id)
    made.advance(run_id)
    assert made.run(run_id).state == "completed"
    assert made.nodes(run_id)["each"].outputs == {"sum": [2.0, 4.0], "_failed": 0}


def test_a_deadline_ends_a_run(made: Bench) -> None:
    run_id = made.submit(line(made), {"x": 1.0}, deadline_seconds=3600)
    past = func.clock_timestamp() - timedelta(seconds=1)
    with made.worker.transaction() as session:
        session.execute(update(WorkflowRun).where(WorkflowRun.id == run_id).values(deadline_at=past, wake_at=past))
    relay(made)
    run = made.run(run_id)
    assert (run.state, run.error_code) == ("timeout", "run_timeout")
    assert made.tasks(run_id, "cancelled").keys() == {"first"}


def waits_for_a_person(made: Bench, **more: Any) -> UUID:
    node = {"node_key": "ok", "node_kind": "approval", "role": "admin", **more}
    edges = ["first.sum > ok.value", "x.value > second.a", "x.value > second.b"]
    first = ["x.value > first.a", "x.value > first.b"]
    nodes = [given("x"), made.function("first"), node, made.function("second", after=["ok"])]
    run_id = made.submit(made.version(nodes, [*first, *edges]), {"x": 1.0})
    made.end(made.tasks(run_id)["first"], {"sum": 2.0})
    assert made.states(run_id) == {"first": "completed", "ok": "waiting", "second": "pending"}
    return run_id


def test_an_approval_waits_for_a_person_of_its_role(made: Bench) -> None:
    run_id = waits_for_a_person(made)
    engineer = factories.actor(made.app, factories.unique("bob"), made.actor.organization.slug)
    with pytest.raises(ForbiddenError):
        act(made, acts.decide, run_id, "ok", acts.APPROVE, actor=engineer)
    administrator = factories.actor(made.app, factories.unique("eve"), made.actor.organization.slug, roles=("admin",))
    act(made, acts.decide, run_id, "ok", acts.APPROVE, actor=administrator)
    made.advance(run_id)
    node = made.nodes(run_id)["ok"]
    assert (node.state, node.decided_by, node.outputs) == ("completed", administrator.user_id, {"value": 2.0})
    assert made.serve(run_id, add) == 1
    assert made.run(run_id).state == "completed"
    with pytest.raises(ConflictError):
        act(made, acts.decide, run_id, "ok", acts.REJECT, actor=administrator)


@pytest.mark.parametrize(
    ("on_expiry", "state", "code"), [("reject", "failed", "approval_expired"), ("approve", "completed", None)]
)
def test_an_approval_that_nobody_gives_expires(made: Bench, on_expiry: str, state: str, code: str | None) -> None:
    run_id = waits_for_a_person(made, deadline_seconds=60, on_expiry=on_expiry)
    past = func.clock_timestamp() - timedelta(seconds=1)
    with made.worker.transaction() as session:
        session.execute(update(RunNode).where(RunNode.run_id == run_id, RunNode.key == "ok").values(not_before=past))
        session.execute(update(WorkflowRun).where(WorkflowRun.id == run_id).values(wake_at=past))
    relay(made)
    node = made.nodes(run_id)["ok"]
    assert (node.state, node.error_code) == (state, code)


def test_a_run_whose_user_has_left_is_held_until_somebody_adopts_it(made: Bench) -> None:
    run_id = made.submit(line(made), {"x": 1.0})
    administrator = factories.actor(made.app, factories.unique("eve"), made.actor.organization.slug, roles=("admin",))
    user, organization = made.actor.user_id, made.organization_id
    with made.worker.transaction() as session:
        session.execute(
            delete(Membership).where(Membership.user_id == user, Membership.organization_id == organization)
        )
    try:
        made.end(made.tasks(run_id)["first"], {"sum": 2.0})
        run = made.run(run_id)
        assert (run.state, made.states(run_id)["second"]) == ("running", "pending")
        assert run.held_reason is not None
        act(made, acts.adopt, run_id, actor=administrator)
        made.advance(run_id)
        assert made.tasks(run_id)["second"].user_id == administrator.user_id
        assert made.serve(run_id, add) == 1
        assert (made.run(run_id).state, made.run(run_id).held_reason) == ("completed", None)
    finally:
        with made.worker.transaction() as session:
            session.add(Membership(user_id=user, organization_id=organization, role="user"))


def test_an_adopted_run_keeps_the_files_that_its_user_gave(made: Bench) -> None:
    nodes = [
        given("x"),
        given("mesh", "File"),
        made.function("first"),
        made.function("solve", "solve", after=["first"]),
    ]
    edges = ["x.value > first.a", "x.value > first.b", "mesh.value > solve.mesh"]
    with made.worker.transaction() as session:
        upload = Upload(
            organization_id=made.organization_id, user_id=made.actor.user_id, var_name="mesh", filename="beam.med",
            extension="med", size_bytes=5, sha256="0" * 64, key=f"org/{made.organization_id}/beam",
        )  # fmt: skip
        session.add(upload)
        session.flush()
        given_file = f"upload:{upload.id}"
    run_id = made.submit(made.version(nodes, edges), {"x": 1.0, "mesh": given_file})
    administrator = factories.actor(made.app, factories.unique("eve"), made.actor.organization.slug, roles=("admin",))
    with made.worker.transaction() as session:
        session.execute(update(WorkflowRun).where(WorkflowRun.id == run_id).values(held_reason="left"))
    act(made, acts.adopt, run_id, actor=administrator)
    made.end(made.tasks(run_id)["first"], {"sum": 2.0})
    task = made.tasks(run_id)["solve"]
    assert (task.user_id, task.files["mesh"]["filename"]) == (administrator.user_id, "beam.med")


def test_a_fallback_takes_the_place_of_a_node_that_failed(made: Bench) -> None:
    nodes = [given("x"), made.function("first", fallback="plain"), made.function("plain"), made.function("last")]
    edges = [f"x.value > {key}.{port}" for key in ("first", "plain") for port in ("a", "b")]
    edges += ["first.sum > last.a", "x.value > last.b"]
    version = made.version(nodes, edges)
    run_id = made.submit(version, {"x": 1.0})
    assert made.tasks(run_id).keys() == {"first"}
    made.end(made.tasks(run_id)["first"], state=TaskState.FAILED)
    made.end(made.tasks(run_id)["plain"], {"sum": 7.0})
    assert made.tasks(run_id)["last"].inputs == {"a": 7.0, "b": 1.0}
    assert made.serve(run_id, add) == 1
    assert (made.run(run_id).state, made.run(run_id).first_failed_node_key) == ("completed", None)
    well = made.submit(version, {"x": 1.0})
    assert made.serve(well, add) == 2
    assert made.states(well) == {"first": "completed", "plain": "skipped", "last": "completed"}


def test_a_node_starts_when_the_run_fails_and_only_then(made: Bench) -> None:
    nodes = [given("x"), made.function("first"), made.function("tell")]
    edges = [f"x.value > {key}.{port}" for key in ("first", "tell") for port in ("a", "b")]
    version = made.version(nodes, edges, on_failure="tell")
    run_id = made.submit(version, {"x": 1.0})
    made.end(made.tasks(run_id)["first"], state=TaskState.FAILED)
    assert made.run(run_id).state == "running"
    assert made.serve(run_id, add) == 1
    assert (made.run(run_id).state, made.states(run_id)["tell"]) == ("failed", "completed")
    well = made.submit(version, {"x": 1.0})
    assert made.serve(well, add) == 1
    assert made.states(well) == {"first": "completed", "tell": "skipped"}


def test_a_stranger_finds_no_run(made: Bench) -> None:
    run_id = made.submit(line(made), {"x": 1.0})
    stranger = factories.actor(made.app, factories.unique("mallory"), factories.unique())
    with pytest.raises(NotFoundError):
        act(made, acts.cancel, run_id, actor=stranger)
    assert made.run(run_id).state == "running"


def test_runs_that_cannot_be_advanced_keep_no_other_from_it(made: Bench) -> None:
    run_id = made.submit(line(made), {"x": 1.0})
    made.end(made.tasks(run_id)["first"], {"sum": 2.0}, advances=False)
    broken = made.version([{"node_key": "x", "node_kind": "nothing"}], [])
    with made.worker.transaction() as session:
        session.execute(delete(DueMark))
        version = session.get_one(WorkflowVersion, broken)
        for _ in range(AT_ONCE):
            run = WorkflowRun(
                organization_id=made.organization_id, user_id=made.actor.user_id, workflow_id=version.workflow_id,
                workflow_version_id=broken, inputs={}, plan={}, visibility_snapshot="private",
            )  # fmt: skip
            session.add(run)
            session.flush()
            session.add(DueMark(run_id=run.id))
            session.flush()
        session.add(DueMark(run_id=run_id))
    made.age_marks()
    due = DueRuns(made.worker, made.tools, lambda _: None)
    try:
        assert due.advance_lost() == 0
        assert due.advance_lost() == 1
        assert made.tasks(run_id).keys() == {"second"}
    finally:
        with made.worker.transaction() as session:
            session.execute(delete(WorkflowRun).where(WorkflowRun.workflow_version_id == broken))
            session.execute(delete(DueMark))


def test_a_run_that_nobody_advanced_is_found_by_its_mark(made: Bench) -> None:
    run_id = made.submit(line(made), {"x": 1.0})
    made.end(made.tasks(run_id)["first"], {"sum": 2.0}, advances=False)
    assert made.marks(run_id) == 1
    made.age_marks()
    relay(made)
    assert made.marks(run_id) == 0
    assert made.tasks(run_id).keys() == {"second"}
    assert relay(made) == 0


def relay(made: Bench) -> int:
    """As the relay's duty does."""
    return DueRuns(made.worker, made.tools, lambda _: None).advance_lost()
