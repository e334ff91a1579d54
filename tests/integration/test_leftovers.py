"""What nobody needs any more: its object goes before the row that names it, so none is left that nobody knows of."""

import io
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, text

from mecapy_platform.core.errors import StorageError
from mecapy_platform.db.session import Database
from mecapy_platform.db.tables import Attempt, Upload
from mecapy_platform.services import sweeps
from mecapy_platform.storage.filesystem import FilesystemStorage
from mecapy_platform.storage.keys import attempt_prefix, upload_key
from support import factories


class Stuck(FilesystemStorage):
    """A storage whose deletions fail while it is stuck, of one object or of all."""

    is_stuck = True
    stuck_at = ""

    def delete(self, key: str) -> None:
        self._fail(key)
        super().delete(key)

    def delete_prefix(self, prefix: str) -> int:
        self._fail(prefix)
        return super().delete_prefix(prefix)

    def _fail(self, key: str) -> None:
        if self.is_stuck and self.stuck_at in key:
            raise StorageError("storage_not_deleted", "The storage does not answer.")


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
    sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM uploads") == 1
    assert len(objects(tmp_path)) == 1
    storage.is_stuck = False
    sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM uploads") == 0
    assert objects(tmp_path) == []


def test_an_attempt_whose_leftovers_cannot_be_deleted_is_looked_at_again_and_holds_up_no_other(
    database: Database, storage: Stuck, tmp_path: Path
) -> None:
    stuck, free = ended_attempts(database, 2)
    for prefix in (stuck, free):
        storage.put(f"{prefix}file/report", io.BytesIO(b"late"))
    storage.stuck_at = stuck
    sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM attempts WHERE leftovers_removed") == 1
    assert len(objects(tmp_path)) == 1
    storage.is_stuck = False
    sweeps.delete_leftovers(database, storage)
    assert count(database, "SELECT count(*) FROM attempts WHERE leftovers_removed") == 2
    assert objects(tmp_path) == []


def ended_attempts(database: Database, wanted: int) -> list[str]:
    """Where each of them may have left something."""
    with database.transaction() as session:
        organization = factories.organization_of(session)
    package = factories.ready_package(database, organization, uuid4())
    prefixes = []
    with database.transaction() as session:
        for number in range(wanted):
            function = next(iter(package.functions.values()))
            queued = factories.queued_task(organization, package.version_id, function, number)
            session.add(queued)
            session.flush()
            facts = {"node": "n", "worker": "w", "backend": "fake", "cpu": 1, "memory_mb": 1, "lane": "default"}
            attempt = {"organization_id": organization, "task_id": queued.id, "number": 1, "token": uuid4(), **facts}
            session.add(Attempt(lease_until=func.now(), **attempt))
            prefixes.append(attempt_prefix(organization, queued.id, 1))
        session.flush()
        session.execute(text("UPDATE attempts SET ended_at = now() - interval '2 hours'"))
    return prefixes
