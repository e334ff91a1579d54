"""What nobody needs any more: its object goes before the row that names it, so none is left that nobody knows of."""

import io
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, text

from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Attempt, Upload
from mecapy_platform.services import sweeps
from mecapy_platform.storage.filesystem import FilesystemStorage
from mecapy_platform.storage.keys import attempt_prefix, upload_key
from support import factories


class Stuck(FilesystemStorage):
    """A storage whose deletions fail once it is asked to be stuck."""

    is_stuck = True

    def delete(self, key: str) -> None:
        self._fail()
        super().delete(key)

    def delete_prefix(self, prefix: str) -> int:
        self._fail()
        return super().delete_prefix(prefix)

    def _fail(self) -> None:
        if self.is_stuck:
            raise OSError("the storage does not answer")


@pytest.fixture
def database(own_database: Database) -> Database:
    return own_database


@pytest.fixture
def storage(tmp_path: Path) -> Stuck:
    return Stuck(tmp_path / "storage", base_url="", secret="x")


def count(database: Database, query: str) -> int:
    with database.transaction() as session:
        return int(session.execute(text(query)).scalar_one())


def objects(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "storage").rglob("*") if path.is_file()]


def test_an_upload_whose_object_cannot_be_deleted_keeps_its_row(
    database: Database, storage: Stuck, tmp_path: Path
) -> None:
    with database.transaction() as session:
        organization = factories.organization_of(session)
        upload = uuid4()
        key = upload_key(organization, upload)
        session.add(
            Upload(
                id=upload,
                organization_id=organization,
                user_id=uuid4(),
                var_name="deck",
                filename="deck.inp",
                extension="inp",
                size_bytes=5,
                sha256="s",
                key=key,
            )
        )
        session.flush()
        session.execute(text("UPDATE uploads SET created_at = now() - interval '8 days'"))
    storage.put(key, io.BytesIO(b"*NODE"))
    with pytest.raises(OSError, match="does not answer"):
        sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM uploads") == 1
    assert len(objects(tmp_path)) == 1
    storage.is_stuck = False
    sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM uploads") == 0
    assert objects(tmp_path) == []


def test_an_attempt_whose_leftovers_cannot_be_deleted_is_looked_at_again(
    database: Database, storage: Stuck, tmp_path: Path
) -> None:
    with database.transaction() as session:
        organization = factories.organization_of(session)
    package = factories.ready_package(database, organization, uuid4())
    with database.transaction() as session:
        queued = factories.queued_task(organization, package.version_id, next(iter(package.functions.values())))
        session.add(queued)
        session.flush()
        task = queued.id
        session.add(
            Attempt(
                organization_id=organization,
                task_id=task,
                number=1,
                token=uuid4(),
                node="n",
                worker="w",
                backend="fake",
                cpu=1,
                memory_mb=1,
                lane="default",
                lease_until=func.now(),
            )
        )
        session.flush()
        session.execute(text("UPDATE attempts SET ended_at = now() - interval '2 hours'"))
    storage.put(f"{attempt_prefix(organization, task, 1)}file/report", io.BytesIO(b"late"))
    with pytest.raises(OSError, match="does not answer"):
        sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM attempts WHERE leftovers_removed") == 0
    storage.is_stuck = False
    sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM attempts WHERE leftovers_removed") == 1
    assert objects(tmp_path) == []
