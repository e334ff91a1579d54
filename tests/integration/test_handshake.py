"""A worker beside a database of another version takes nothing, says why, ends what it began, goes on when served."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.core.states import TaskState
from mecapy_platform.db.errors import NotServedError
from mecapy_platform.db.functions import FOLDER
from mecapy_platform.db.interface import INTERFACE, SERVES
from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Package, PackageVersion, Task, Worker
from mecapy_platform.db.wire import Wire, plain_url
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import claims
from mecapy_platform.services.places import known_places, known_workers
from mecapy_platform.settings import Settings
from mecapy_platform.worker.handshake import NOT_MIGRATED, NOT_SERVED, UNKNOWN, Handshake
from mecapy_platform.worker.process import WorkerProcess
from support import factories
from support.fakes import FakeSandbox
from support.platform.embedded_process import wait_for
from support.platform.services import fresh_database, opened
from support.platform.worker_bench import WorkerBench, worker_bench


@pytest.fixture
def bench() -> Iterator[WorkerBench]:
    with (
        fresh_database() as server,
        tempfile.TemporaryDirectory(prefix="mecapy-handshake-") as folder,
        opened(server.worker_url) as database,
        worker_bench(server, database, Path(folder)) as made,
    ):
        yield made


def serve_only(server: Postgres, interface: int, folder: Path) -> None:
    """As a later version's migration would."""
    shutil.copytree(FOLDER, folder)
    serves = folder / "mecapy_serves.sql"
    serves.write_text(serves.read_text("utf-8").replace(f"BETWEEN {INTERFACE} AND {INTERFACE}", f"= {interface}"))
    migrate(server.owner_url, functions=folder)


def rows_of_workers(bench: WorkerBench) -> list[Worker]:
    with bench.database.transaction() as session:
        return session.query(Worker).all()


def is_refused(bench: WorkerBench) -> bool:
    return [row.refusal_code for row in rows_of_workers(bench)] == ["version_not_served"]


def test_every_connection_of_ours_is_served_and_one_that_says_nothing_is_not(server: Postgres) -> None:
    database = Database(make_engine(server.app_url))
    wire = Wire(server.worker_url, {"serves": str(SERVES)})
    with database.transaction() as session:
        assert session.scalar(SERVES) is True
    assert wire.call("serves") == [(b"t",)]
    with psycopg.connect(plain_url(server.worker_url)) as silent:
        assert silent.execute(str(SERVES)).fetchone() == (False,)
    wire.close()
    database.dispose()


def test_a_worker_that_is_not_served_takes_nothing_ends_what_it_began_and_goes_on_later(
    bench: WorkerBench, tmp_path: Path
) -> None:
    with bench.working(FakeSandbox()) as worker:
        bench.submit(1, 1.5)
        wait_for(lambda: began(bench, worker), "the first has begun")
        serve_only(bench.server, INTERFACE + 1, tmp_path / "later")
        waiting = bench.submit(3)
        to_build = version_to_build(bench)
        wait_for(lambda: is_refused(bench), "it says that it is not served")
        bench.wait_for_all(1, worker)
        assert [row.refusal for row in rows_of_workers(bench)] == [NOT_SERVED]
        with bench.database.transaction() as session:
            assert {place.refusal for place in known_places(session)} == {NOT_SERVED}
            untouched = session.query(Task).filter(Task.id.in_(waiting)).all()
        assert {(task.state, task.attempts) for task in untouched} == {(TaskState.QUEUED, 0)}
        assert not is_build_begun(bench, to_build)
        migrate(bench.server.owner_url)
        bench.wait_for_all(4, worker)
        wait_for(lambda: is_build_begun(bench, to_build), "builds go on too")
    assert {attempt.number for attempt in bench.attempts()} == {1}


def version_to_build(bench: WorkerBench) -> UUID:
    with bench.database.transaction() as session:
        package = session.query(Package).filter_by(organization_id=bench.organization_id).one()
        return factories.version_of(session, package, version="2.0.0", functions={}, status="building").version_id


def is_build_begun(bench: WorkerBench, version: UUID) -> bool:
    """Its archive is nowhere, so it is tried again, uncounted: its lease tells of it."""
    with bench.database.transaction() as session:
        return session.get_one(PackageVersion, version).build_lease_until is not None


def began(bench: WorkerBench, worker: WorkerProcess) -> bool:
    worker.poke()
    return bench.states() == {"running": 1}


def test_the_database_itself_refuses_the_take_of_a_worker_that_has_not_asked_yet(
    bench: WorkerBench, tmp_path: Path
) -> None:
    bench.submit(2)
    with bench.working(FakeSandbox(), lanes=[Lane.HIGH_PRIORITY]):
        wait_for(lambda: bool(rows_of_workers(bench)), "the node is known")
    serve_only(bench.server, INTERFACE + 1, tmp_path / "later")
    worker = claims.Worker("node", "node-other", "fake")
    with pytest.raises(NotServedError), bench.database.transaction() as session:
        claims.claim(session, worker, Lane.DEFAULT, 2, Settings().queue_rules)
    assert bench.states() == {"queued": 2}
    assert bench.attempts() == []


def test_a_worker_of_a_later_version_waits_until_the_database_is_migrated() -> None:
    with fresh_database(is_migrated=False) as server:
        migrate(server.owner_url, "0003")
        database = Database(make_engine(server.worker_url))
        changes = list[str | None]()
        handshake = Handshake(database, lambda: changes.append(handshake.refusal))
        assert handshake.refusal == UNKNOWN
        handshake.ask()
        handshake.ask()
        migrate(server.owner_url)
        handshake.ask()
        assert changes == [NOT_MIGRATED, None]
        database.dispose()


def test_a_node_of_which_no_worker_of_this_version_tells_is_no_place_that_takes_work(server: Postgres) -> None:
    database = Database(make_engine(server.worker_url))
    name = f"silent-{uuid4().hex[:6]}"
    with database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO nodes (name, cpu, memory_mb, disk_free_bytes, accepts_work) VALUES (:n, 1, 512, 1, true)"
            ),
            {"n": name},
        )
        (place,) = [place for told, place in known_workers(session) if told == name]
        assert place.refusal is not None
        assert place in known_places(session)
    database.dispose()
