"""What a run may start: as much as the queue takes, what is not archived, what some worker can run, what fits."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select, update

from mecapy_platform.core.errors import QuotaExceededError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.tables import LaneShare, Node, Package, Task, Worker
from mecapy_platform.db.workflow_tables import WorkflowRun
from mecapy_platform.services.runs import acts
from mecapy_platform.services.runs.collecting import MAP_BYTES
from mecapy_platform.services.runs.due import DueRuns
from mecapy_platform.services.runs.tools import MOST_LOOKS
from mecapy_platform.services.work import unit
from support import factories
from support.workflows.runs import ADD, Bench, add, bench, given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("runs")) as found:
        yield found


def line(made: Bench) -> UUID:
    """Two nodes, one after the other."""
    nodes = [given("x"), made.function("first"), made.function("second")]
    edges = ["x.value > first.a", "x.value > first.b", "first.sum > second.a", "x.value > second.b"]
    return made.version(nodes, edges)


def queued(made: Bench, number: int) -> None:
    """As the sweep has counted."""
    with made.worker.transaction() as session:
        session.merge(LaneShare(lane=Lane.DEFAULT, organization_id=made.organization_id, queued=number))


def test_a_run_starts_no_more_than_the_queue_takes(made: Bench) -> None:
    most = made.rules.organization_max_queued
    run_id = made.submit(line(made), {"x": 1.0})
    queued(made, most)
    with pytest.raises(QuotaExceededError):
        made.submit(line(made), {"x": 1.0})
    made.end(made.tasks(run_id)["first"], {"sum": 2.0})
    assert (made.tasks(run_id), made.run(run_id).state) == ({}, "running")
    assert made.run(run_id).wake_at is not None
    queued(made, most - 2)
    nodes = [
        given("v", "list[Float]"),
        {"node_key": "each", "node_kind": "map", "over": ["a", "b"], "body": made.body()},
    ]
    each = made.submit(made.version(nodes, ["v.value > each.a", "v.value > each.b"]), {"v": [1.0, 2.0, 3.0]})
    assert len(made.tasks(each)) == 2
    queued(made, 0)
    past = func.clock_timestamp() - timedelta(seconds=1)
    with made.worker.transaction() as session:
        session.execute(update(WorkflowRun).where(WorkflowRun.id.in_([run_id, each])).values(wake_at=past))
    assert DueRuns(made.worker, made.tools, lambda _: None).advance_lost() == 2
    assert (made.serve(run_id, add), made.serve(each, add)) == (1, 3)
    assert (made.run(run_id).state, made.run(each).state) == ("completed", "completed")


def test_nodes_of_an_archived_package_or_that_no_worker_can_run_fail(made: Bench) -> None:
    package = factories.ready_package(
        made.worker, made.organization_id, made.actor.user_id, name="large", functions={"huge": ADD, "gone": ADD}
    )
    keys = {"huge": "never_fits", "gone": "package_archived"}
    edges = [f"x.value > f.{port}" for port in ("a", "b")]
    versions = {
        key: made.version([given("x"), {"node_key": "f", "function_version_id": str(package.functions[key])}], edges)
        for key in keys
    }
    with made.worker.transaction() as session:
        session.add(Node(name="small", cpu=2.0, memory_mb=100, disk_free_bytes=1 << 40))
        session.add(Worker(name="small", node="small", backend="process", abilities=["python3.11"]))
    try:
        codes = {"huge": code_of(made, versions["huge"])}
        with made.worker.transaction() as session:
            session.execute(update(Package).where(Package.name == "large").values(archived_at=func.now()))
        codes["gone"] = code_of(made, versions["gone"])
        assert codes == keys
    finally:
        with made.worker.transaction() as session:
            session.execute(delete(Worker))
            session.execute(delete(Node))


def code_of(made: Bench, version_id: UUID) -> str | None:
    """With which a run of it fails at once."""
    run_id = made.submit(version_id, {"x": 1.0})
    assert (made.tasks(run_id), made.run(run_id).state) == ({}, "failed")
    return made.nodes(run_id)["f"].error_code


def test_runs_that_end_at_once_are_advanced_some_in_each_transaction(made: Bench) -> None:
    body = made.version(
        [
            given("x"),
            {"node_key": "e", "node_kind": "expression", "expression": "x", "ports": {"x": "Float"},
             "type_expr": "Float"},
        ],
        ["x.value > e.x"],
    )  # fmt: skip
    inner = {"workflow_version_id": str(body)}
    nodes = [
        given("v", "list[Float]"),
        given("x"),
        {"node_key": "each", "node_kind": "map", "over": ["x"], "body": inner, "parallel": 50_000},
        {"node_key": "again", "node_kind": "loop", "body": inner, "until": "value < 0",
         "max_iterations": MOST_LOOKS, "after": ["each"]},
    ]  # fmt: skip
    run_id = made.submit(
        made.version(nodes, ["v.value > each.x", "x.value > again.x"]), {"v": [1.0] * 2 * MOST_LOOKS, "x": 1.0}
    )
    inside = inner_runs(made, run_id)
    assert (made.run(run_id).state, 0 < inside < MOST_LOOKS) == ("running", True)
    assert made.marks(run_id) > 0
    due = DueRuns(made.worker, made.tools, lambda _: None)
    for _ in range(20):
        made.age_marks()
        due.advance_lost()
        before, inside = inside, inner_runs(made, run_id)
        assert inside - before <= MOST_LOOKS
    assert (made.nodes(run_id)["each"].state, made.nodes(run_id)["again"].error_code) == ("completed", "loop_limit")
    assert (inside, made.marks(run_id)) == (3 * MOST_LOOKS, 0)


def test_a_cancel_reaches_more_runs_inside_than_go_into_one_transaction(made: Bench) -> None:
    node = {"node_key": "each", "node_kind": "map", "over": ["x"], "parallel": 50_000,
            "body": {"workflow_version_id": str(line(made))}}  # fmt: skip
    number = MOST_LOOKS + 20
    run_id = made.submit(made.version([given("v", "list[Float]"), node], ["v.value > each.x"]), {"v": [1.0] * number})
    assert inner_runs(made, run_id) < MOST_LOOKS
    due = DueRuns(made.worker, made.tools, lambda _: None)
    made.age_marks()
    due.advance_lost()
    assert (inner_runs(made, run_id), queued_inside(made, run_id)) == (number, number)
    with unit(made.app, made.actor.organization_ids, made.actor.user_id) as session:
        acts.cancel(session, made.actor, run_id, made.tools_of(made.actor))
    assert 0 < queued_inside(made, run_id) < number
    for _ in range(5):
        made.age_marks()
        due.advance_lost()
    assert (made.run(run_id).state, made.tasks(run_id), made.marks(run_id)) == ("cancelled", {}, 0)


def queued_inside(made: Bench, run_id: UUID) -> int:
    with made.worker.transaction() as session:
        inner = select(WorkflowRun.id).where(WorkflowRun.root_run_id == run_id)
        return session.scalar(select(func.count()).where(Task.run_id.in_(inner), Task.state == "queued")) or 0


def inner_runs(made: Bench, run_id: UUID) -> int:
    with made.worker.transaction() as session:
        return session.scalar(select(func.count()).where(WorkflowRun.root_run_id == run_id)) or 0


def test_a_map_whose_items_give_too_much_fails_instead_of_filling_the_memory(made: Bench) -> None:
    nodes = [
        given("v", "list[Float]"),
        {"node_key": "each", "node_kind": "map", "over": ["a", "b"], "body": made.body()},
    ]
    run_id = made.submit(made.version(nodes, ["v.value > each.a", "v.value > each.b"]), {"v": [1.0, 2.0]})
    for task in made.tasks(run_id).values():
        made.end(task, {"sum": 1.0, "told": "x" * (MAP_BYTES // 2)})
    assert made.run(run_id).state == "failed"
    assert made.nodes(run_id)["each"].error_code == "map_result_too_large"
