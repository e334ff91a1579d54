"""Workers of two nodes that are not alike.

Nothing is claimed where it cannot run, nothing stalls behind what fits nowhere.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Node, Worker
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.sandbox.base import Sandbox
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.services import claims
from mecapy_platform.services.claims import Claim
from mecapy_platform.settings import Settings
from support import factories
from support.backends.docker_daemon import daemon
from support.fakes import FakeSandbox, Misbehaviour
from support.platform.embedded_process import wait_for
from support.platform.worker_bench import WorkerBench, worker_bench

SMALL_WITH_TOOL: dict[str, Any] = {"node": "small", "worker_cpu": 1, "worker_memory_mb": 2048, "tools": ("ccx",)}
LARGE_WITHOUT: dict[str, Any] = {"node": "without", "worker_cpu": 8, "cpu_overcommit": 4.0, "worker_memory_mb": 16384}
SMALL: dict[str, Any] = {"node": "small", "worker_cpu": 1, "cpu_overcommit": 4.0, "worker_memory_mb": 2048}
LARGE: dict[str, Any] = {
    "node": "large",
    "worker_cpu": 8,
    "cpu_overcommit": 4.0,
    "worker_memory_mb": 16384,
    "tools": ("ccx",),
}


@pytest.fixture
def bench(server: Postgres, database: Database) -> Iterator[WorkerBench]:
    with (
        tempfile.TemporaryDirectory(prefix="mecapy-nodes-") as folder,
        worker_bench(server, database, Path(folder), long_running_max_running=100) as made,
    ):
        yield made


def ran_on(bench: WorkerBench, task_ids: list[UUID]) -> set[str]:
    return {attempt.node for attempt in bench.attempts() if attempt.task_id in set(task_ids)}


@pytest.mark.parametrize("lane", list(Lane))
def test_nothing_is_claimed_where_it_cannot_run_and_nothing_waits_behind_it(bench: WorkerBench, lane: Lane) -> None:
    """On both ways of a claim: the fast one, and the one of lanes and heads that have to be chosen."""
    meshes = bench.submit(6, lane=lane, needs=["ccx", "python3.11"])
    large = bench.submit(2, lane=lane, memory_mb=4096)
    nowhere = bench.submit(2, lane=lane, cpu=200)
    plain = bench.submit(8, lane=lane, needs=["python3.11"])
    with bench.working(FakeSandbox(), lanes=[lane], **SMALL) as small:
        bench.wait_for_all(len(plain), small)
        assert ran_on(bench, [*meshes, *large, *nowhere]) == set(), "nothing else is claimed there"
        with bench.working(FakeSandbox(), lanes=[lane], **LARGE) as there:
            bench.wait_for_all(len(plain) + len(meshes) + len(large), there)
    assert ran_on(bench, [*meshes, *large]) == {"large"}
    assert bench.states() == {"completed": 16, "queued": 2}
    assert {attempt.number for attempt in bench.attempts()} == {1}, "no attempt was wasted"


@pytest.fixture(params=["fake", "docker"])
def node_sandbox(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Sandbox]]:
    """A backend for each node; of containers each has its own broker, as on a machine of its own."""
    if request.param == "fake":
        yield lambda _node: FakeSandbox()
        return
    with ExitStack() as stack:
        engine = stack.enter_context(daemon())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mecapy-runs-")))
        home.chmod(0o755)

        def made(node: str) -> Sandbox:
            sandbox = DockerSandbox(DockerOptions(home / node, engine.address, node=node))
            stack.callback(sandbox.close)
            return sandbox

        yield made


def test_of_a_node_that_lacks_a_tool_and_a_small_one_each_takes_what_it_can_run(
    bench: WorkerBench, node_sandbox: Callable[[str], Sandbox]
) -> None:
    """What neither can run is the oldest and waits; nothing waits behind it, nor is it ever claimed."""
    nowhere = bench.submit(2, cpu=200) + bench.submit(2, memory_mb=4096, needs=["ccx", "python3.11"])
    meshes = bench.submit(4, needs=["ccx", "python3.11"])
    large = bench.submit(2, memory_mb=4096)
    plain = bench.submit(4)
    with (
        bench.working(node_sandbox("small"), **SMALL_WITH_TOOL) as small,
        bench.working(node_sandbox("without"), **LARGE_WITHOUT) as without,
    ):
        bench.wait_for_all(len(meshes) + len(large) + len(plain), without)
        bench.wait_for_all(len(nowhere), small, state="queued")
    assert ran_on(bench, meshes) == {"small"}
    assert ran_on(bench, large) == {"without"}
    assert ran_on(bench, plain) <= {"small", "without"}
    assert ran_on(bench, nowhere) == set()
    assert [attempt.number for attempt in bench.attempts()] == [1] * 10, "no attempt was wasted"


def test_a_process_tells_of_itself_alone(bench: WorkerBench) -> None:
    """Two processes of one node: what one refuses and lacks does not reach the other's row, nor its claims."""
    broken = FakeSandbox(Misbehaviour.UNSAFE)
    bench.submit(2)
    with (
        bench.working(FakeSandbox(), lanes=[Lane.DEFAULT], tools=("ccx",)) as well,
        bench.working(broken, lanes=[Lane.LONG_RUNNING]) as ill,
    ):
        wait_for(lambda: "does not hold" in str(ill.refusal()), "one refuses")
        bench.wait_for_all(2, well)

        def rows() -> dict[str | None, tuple[bool, bool]]:
            with bench.database.transaction() as session:
                found = session.scalars(select(Worker)).all()
                return {row.lane: (row.accepts_work, "ccx" in row.abilities) for row in found}

        wait_for(lambda: rows() == {"default": (True, True), "long_running": (False, False)}, "each has its own row")
        for _ in range(3):
            seen = beat(bench)
            wait_for(lambda seen=seen: beat(bench) > seen, "both tell of themselves again")  # type: ignore[misc]
            assert rows() == {"default": (True, True), "long_running": (False, False)}
    with bench.database.transaction() as session:
        assert session.scalars(select(Worker)).all() == [], "who has ended tells nothing more"


def beat(bench: WorkerBench) -> datetime:
    """When the process that spoke least lately spoke last."""
    with bench.database.transaction() as session:
        return min(session.scalars(select(Worker.seen_at)).all())


def test_one_node_keeps_room_for_a_large_task_and_the_other_goes_on(bench: WorkerBench, database: Database) -> None:
    for name in ("a", "b"):
        with database.transaction() as session:
            factories.see_node(session, name, cpu=4)
    (first,) = take(database, bench, "a", bench.submit(1))
    (second,) = take(database, bench, "b", bench.submit(1))
    long_ago = datetime.now(UTC) - timedelta(seconds=100)
    (large,) = bench.submit(1, cpu=4, created_at=long_ago)
    small = another_organizations(bench, 6)
    assert take(database, bench, "a", []) == [], "it keeps what is free"
    assert set(small) == {item.task_id for item in take(database, bench, "b", [])} | set(small)
    with database.transaction() as session:
        kept = {node.name: node.kept_for for node in session.scalars(select(Node))}
    assert kept == {"a": large, "b": None}
    with database.transaction() as session:
        session.execute(text("UPDATE attempts SET ended_at = now() WHERE token = :token"), {"token": first.token})
    assert [item.task_id for item in take(database, bench, "a", [])] == [large]
    with database.transaction() as session:
        assert session.get_one(Node, "a").kept_for is None
    assert second.task_id != large


def take(database: Database, bench: WorkerBench, node: str, _submitted: list[UUID]) -> list[Claim]:
    del bench
    with database.transaction() as session:
        return claims.claim(session, claims.Worker(node, f"{node}-1", "fake"), Lane.DEFAULT, 4, Settings().queue_rules)


def another_organizations(bench: WorkerBench, count: int) -> list[UUID]:
    with bench.database.transaction() as session:
        other = factories.organization_of(session)
    made = bench.submit(count, organization_id=other, user_id=uuid4())
    with bench.database.transaction() as session:
        session.execute(
            text("UPDATE lane_shares SET stride_pass = 0 WHERE organization_id = :own"), {"own": bench.organization_id}
        )
    return made
