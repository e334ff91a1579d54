"""Large values from the side of workers and of the relay: fetched, checked, shared, freed, nothing is left behind."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import undefer

from mecapy_platform.core.errors import StorageFullError, UnavailableError
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import PackageVersion, StoredValue, Task
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.services import builds
from mecapy_platform.services.builds import Built, Ports
from mecapy_platform.services.sweeps import delete_leftovers
from mecapy_platform.services.tasks.requests import inputs_digest
from mecapy_platform.services.values import UNNEEDED_AFTER, ValueStore, fetch
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage
from support import factories
from support.fakes import FakeSandbox
from support.platform.embedded_process import wait_for
from support.platform.worker_bench import WorkerBench, worker_bench

ROW_BYTES = Settings().row_value_bytes
LARGE = {"diameter": 0.0, "notes": list(range(60_000))}


@pytest.fixture
def bench(server: Postgres, database: Database) -> Iterator[WorkerBench]:
    with (
        tempfile.TemporaryDirectory(prefix="mecapy-values-") as folder,
        worker_bench(server, database, Path(folder)) as made,
    ):
        with database.transaction() as session:
            session.execute(delete(Task))
            session.execute(delete(StoredValue))
        yield made


@pytest.fixture
def storage(bench: WorkerBench) -> FilesystemStorage:
    return FilesystemStorage(bench.folder / "storage", base_url="", secret="x")


@pytest.fixture
def store(bench: WorkerBench, storage: FilesystemStorage) -> ValueStore:
    return ValueStore(storage, bench.database.transaction, ROW_BYTES)


def kept(
    bench: WorkerBench, store: ValueStore, inputs: dict[str, Any] | None = None, row_bytes: int = ROW_BYTES
) -> UUID:
    value_id = replace(store, row_bytes=row_bytes).keep(bench.organization(), LARGE if inputs is None else inputs)
    assert value_id is not None
    return value_id


def is_stored(storage: FilesystemStorage, bench: WorkerBench) -> list[str]:
    folder = bench.folder / "storage" / "objects"
    return [path.name for path in folder.rglob("*") if path.is_file()]


def rows(database: Database) -> int:
    with database.transaction() as session:
        return session.scalars(select(func.count()).select_from(StoredValue)).one()


def grow_old(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(StoredValue).values(created_at=func.now() - UNNEEDED_AFTER - timedelta(seconds=1)))


def test_a_value_that_a_crash_left_is_removed_row_and_object(
    bench: WorkerBench, store: ValueStore, storage: FilesystemStorage
) -> None:
    """Whatever came of it: the row alone, or the row and the object, but no task."""
    left = kept(bench, store)
    with bench.database.transaction() as session:
        bare = StoredValue(
            organization_id=bench.organization_id, key=f"org/{uuid4()}/value/none.json", size_bytes=1, sha256="0"
        )
        session.add(bare)
    delete_leftovers(bench.database, storage)
    assert (rows(bench.database), is_stored(storage, bench)) == (2, [f"{left}.json"]), "it may still be on its way"
    grow_old(bench.database)
    delete_leftovers(bench.database, storage)
    assert (rows(bench.database), is_stored(storage, bench)) == (0, [])


@pytest.mark.parametrize("column", ["inputs_ref", "result_ref"])
def test_a_value_stays_until_its_last_task_is_gone(
    bench: WorkerBench, store: ValueStore, storage: FilesystemStorage, column: str
) -> None:
    value_id = kept(bench, store)
    columns: dict[str, Any] = {column: value_id}
    first, second = (bench.submit(1, **columns)[0] for _ in range(2))
    grow_old(bench.database)
    for task_id, left in ((None, 1), (first, 1), (second, 0)):
        with bench.database.transaction() as session:
            session.execute(delete(Task).where(Task.id == task_id))
        delete_leftovers(bench.database, storage)
        assert (rows(bench.database), len(is_stored(storage, bench))) == (left, left)


def test_storage_that_fails_in_the_middle_of_removing_leaves_the_row(
    bench: WorkerBench, store: ValueStore, storage: FilesystemStorage
) -> None:
    """So that it is tried again: no object is left without a row."""
    value_id = kept(bench, store)
    grow_old(bench.database)
    with missing(bench, f"{value_id}.json", is_folder=True):
        delete_leftovers(bench.database, storage)
    assert rows(bench.database) == 1
    delete_leftovers(bench.database, storage)
    assert (rows(bench.database), is_stored(storage, bench)) == (0, [])


def test_nothing_is_written_where_there_is_no_room(bench: WorkerBench) -> None:
    full = FilesystemStorage(bench.folder / "full", base_url="", secret="x", floor_bytes=1 << 60)
    store = ValueStore(full, bench.database.transaction, ROW_BYTES)
    with pytest.raises(StorageFullError):
        store.keep(bench.organization(), LARGE)
    assert rows(bench.database) == 0
    assert list((bench.folder / "full" / "objects").rglob("*")) == []


def test_a_task_gets_its_large_inputs_from_storage(bench: WorkerBench, store: ValueStore) -> None:
    (task_id,) = bench.submit(1, inputs=None, inputs_ref=kept(bench, store, {"diameter": 0.5}, row_bytes=1))
    with bench.working(FakeSandbox()) as process:
        bench.wait_for_all(1, process)
    with bench.database.transaction() as session:
        task = session.get_one(Task, task_id, options=[undefer(Task.result)])
    assert task.result == {"stress": 0.5}


@contextmanager
def missing(bench: WorkerBench, name: str, *, is_folder: bool = False) -> Iterator[None]:
    """Its object is away for a while; `is_folder`: something stands there that cannot be removed."""
    (path,) = (bench.folder / "storage" / "objects").rglob(name)
    aside = bench.folder / "aside"
    path.rename(aside)
    if is_folder:
        path.mkdir()
    try:
        yield
    finally:
        if is_folder:
            path.rmdir()
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(path)


def test_storage_that_is_away_is_an_outage_and_no_attempt(bench: WorkerBench, store: ValueStore) -> None:
    value_id = kept(bench, store, {"diameter": 0.5}, row_bytes=1)
    (task_id,) = bench.submit(1, inputs=None, inputs_ref=value_id)

    def outages() -> int:
        bench.release()
        process.poke()
        with bench.database.transaction() as session:
            return session.get_one(Task, task_id).outages

    with bench.working(FakeSandbox()) as process:
        with missing(bench, f"{value_id}.json"):
            wait_for(lambda: outages() >= 2, "the task to be given back")
        bench.wait_for_all(1, process)
    with bench.database.transaction() as session:
        task = session.get_one(Task, task_id)
    assert (task.machine_failures, task.own_failures, task.parked) == (0, 0, False)
    work = [path for path in (bench.folder / "work").rglob("*") if path.name == "in"]
    assert work == [], "nothing of the attempts that could not begin is left"


@pytest.mark.parametrize("damage", [b"", b"{}", b"x"], ids=["cut", "other", "longer"])
def test_a_value_that_is_not_as_it_was_stored_is_not_used(
    bench: WorkerBench, store: ValueStore, storage: FilesystemStorage, damage: bytes
) -> None:
    value_id = kept(bench, store)
    with bench.database.transaction() as session:
        value = session.get_one(StoredValue, value_id)
    with storage.open(value.key) as source:
        content = source.read()
    storage.put(value.key, io.BytesIO(content + damage if damage == b"x" else damage))
    path = bench.folder / "data.json"
    with pytest.raises(UnavailableError) as caught:
        fetch(storage, value.key, size_bytes=value.size_bytes, digest=value.sha256, path=path)
    assert caught.value.code == "stored_value_damaged"


def build(bench: WorkerBench, store: ValueStore, task_id: UUID) -> UUID:
    """End the build that a task waits for; its function takes a list of lengths. Returns the version."""
    ports = Ports({"lengths": {"type": "list[Length]", "required": True}}, {}, free_inputs=False)
    token = uuid4()
    with bench.database.transaction() as session:
        version_id = session.get_one(Task, task_id).package_version_id
        building = {"status": "building", "build_token": token}
        session.execute(update(PackageVersion).where(PackageVersion.id == version_id).values(**building))
    with bench.database.transaction() as session:
        assert builds.finish_build(session, token, Built(log="", ports={"size": ports}), store)
    return version_id


@pytest.mark.parametrize("is_large_after", [True, False])
def test_large_inputs_of_a_task_that_waits_for_its_build_are_checked_then(
    bench: WorkerBench, store: ValueStore, storage: FilesystemStorage, is_large_after: bool
) -> None:
    """They are converted, stored anew, and what was stored before is freed."""
    count = 60_000 if is_large_after else 35_000
    given, checked = {"lengths": ["1 mm"] * count}, {"lengths": [0.001] * count}
    before = kept(bench, store, given)
    (task_id,) = bench.submit(1, inputs=None, inputs_ref=before, claimable=False, hold_reason="building")
    build(bench, store, task_id)
    with bench.database.transaction() as session:
        task = session.get_one(Task, task_id, options=[undefer(Task.inputs)])
        inputs = task.inputs if task.inputs_ref is None else store.load(session, task.organization_id, task.inputs_ref)
    assert (task.inputs_ref is not None, task.claimable) == (is_large_after, True)
    assert (inputs, task.inputs_digest) == (checked, inputs_digest(checked, {}))
    grow_old(bench.database)
    delete_leftovers(bench.database, storage)
    assert rows(bench.database) == int(is_large_after)


def test_a_task_whose_inputs_are_lost_ends_alone_and_its_version_is_ready(
    bench: WorkerBench, store: ValueStore, storage: FilesystemStorage
) -> None:
    lost = kept(bench, store)
    with bench.database.transaction() as session:
        storage.delete(session.get_one(StoredValue, lost).key)
    (task_id,) = bench.submit(1, inputs=None, inputs_ref=lost, claimable=False, hold_reason="building")
    (other_id,) = bench.submit(1, inputs={"lengths": [1.0]}, claimable=False, hold_reason="building")
    version_id = build(bench, store, task_id)
    with bench.database.transaction() as session:
        assert session.get_one(PackageVersion, version_id).status == "ready"
        assert session.get_one(Task, task_id).state == "failed"
        assert session.get_one(Task, other_id).claimable


def test_a_worker_is_not_told_where_a_value_of_another_organization_lies(
    bench: WorkerBench, store: ValueStore, storage: FilesystemStorage
) -> None:
    with bench.database.transaction() as session:
        stranger = factories.organization_of(session)
    foreign = store.keep(stranger, LARGE)
    (task_id,) = bench.submit(1, inputs=None, inputs_ref=foreign)
    with bench.database.transaction() as session:
        taken = session.execute(
            text("SELECT inputs_key FROM mecapy_take(ARRAY[cast(:id AS uuid)], ARRAY[uuidv7()], 'n', 'w', 'b', 15)"),
            {"id": task_id},
        ).scalar_one()
    assert taken is None
