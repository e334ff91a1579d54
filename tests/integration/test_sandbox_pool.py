"""A third backend fits: declared in one place, held by the contract, served by worker and queue as they are."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox_contract import PACKAGE, Bench, SandboxContract
from mecapy_platform import bootstrap
from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Node
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.sandbox.registry import DECLARED
from mecapy_platform.worker.bell import QuietBell
from mecapy_platform.worker.process import WorkerProcess
from support.backends.pool import Cluster, Machine, PoolSandbox, pool_kind
from support.platform.embedded_process import wait_for
from support.platform.worker_bench import WorkerBench, worker_bench


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(Machine("m-1", 4, 4096), Machine("m-2", 4, 4096), Machine("m-3", 8, 16384))
    yield made
    for reference in list(made.members):
        made.forget(reference)


class TestPool(SandboxContract):
    @pytest.fixture
    def bench(self, cluster: Cluster, tmp_path: Path) -> Bench:
        shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
        return Bench(PoolSandbox(cluster), tmp_path, Path(sys.executable).resolve())


@pytest.fixture
def queue(server: Postgres, database: Database) -> Iterator[WorkerBench]:
    options = {"sandbox_backends": {"long_running": "pool"}, "backend_options": {"pool": {"size": "3"}}}
    slots = {"high_priority": 1, "default": 1, "long_running": 40}
    with (
        tempfile.TemporaryDirectory(prefix="mecapy-pool-") as folder,
        worker_bench(server, database, Path(folder), **options, slots=slots, long_running_max_running=1000) as made,
    ):
        yield made


@contextmanager
def watching(bench: WorkerBench, cluster: Cluster, seen: list[Mapping[str, Any]]) -> Iterator[WorkerProcess]:
    """One worker process, made by the platform's own bootstrap, with the pool among the declared backends."""
    kinds = {**DECLARED, "pool": pool_kind(cluster, seen)}
    context = bootstrap.make_worker_context(bench.settings, [Lane.LONG_RUNNING], kinds)
    context = replace(context, send=lambda _lanes: None)
    process = WorkerProcess(context, [Lane.LONG_RUNNING], bell=lambda _lane: QuietBell(), clear_hint=lambda _lane: None)
    process.start()
    try:
        yield process
    finally:
        process.close()
        context.database.dispose()


def test_one_process_watches_many_runs_within_the_pools_own_capacity(queue: WorkerBench, cluster: Cluster) -> None:
    seen: list[Mapping[str, Any]] = []
    queue.submit(12, 1.0, lane=Lane.LONG_RUNNING, cpu=2, memory_mb=1024)
    with watching(queue, cluster, seen) as worker:
        wait_for(lambda: sum(len(machine.members) for machine in cluster.machines) == 8, "the pool is full")
        assert len(worker.live.all()) == 8, "no more is claimed than the pool has room for"
        queue.wait_for_all(12, worker)
    assert seen == [{"size": "3"}]
    assert {attempt.backend for attempt in queue.attempts()} == {"pool"}
    with queue.database.transaction() as session:
        (node,) = session.query(Node).all()
        assert (node.cpu, node.memory_mb) == (16.0, 24576), "what the pool has, not what this machine has"
        assert node.name.endswith("-pool")


def test_its_runs_go_on_while_nobody_watches_and_are_found_again(queue: WorkerBench, cluster: Cluster) -> None:
    queue.submit(3, 8.0, lane=Lane.LONG_RUNNING)
    with watching(queue, cluster, []):
        wait_for(lambda: [bool(attempt.reference) for attempt in queue.attempts()] == [True] * 3, "named")
        before = {member.reference for member in cluster.members.values()}
    assert {member.reference for member in cluster.members.values()} == before
    with watching(queue, cluster, []) as worker:
        queue.wait_for_all(3, worker)
        wait_for(lambda: not cluster.members, "what has ended is removed")
    assert [attempt.number for attempt in queue.attempts()] == [1, 1, 1], "no second attempt"


def test_a_pool_that_is_away_counts_nothing(queue: WorkerBench, cluster: Cluster) -> None:
    cluster.is_away = True
    with watching(queue, cluster, []) as worker:
        queue.submit(4, lane=Lane.LONG_RUNNING)
        wait_for(lambda: "does not answer" in str(worker.refusal()), "the outage is said")
        assert queue.attempts() == []
        cluster.is_away = False
        queue.wait_for_all(4, worker)


def test_a_process_does_not_mix_a_pool_with_its_own_machine(queue: WorkerBench, cluster: Cluster) -> None:
    kinds = {**DECLARED, "pool": pool_kind(cluster)}
    with pytest.raises(ConfigurationError, match="long_running"):
        bootstrap.make_worker_context(queue.settings, [Lane.DEFAULT, Lane.LONG_RUNNING], kinds)
