"""The schema that migrations make is the one that the code reads and writes."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, text

from mecapy_platform.db.schema import migrate
from mecapy_platform.db.workflow_tables import Workflow
from mecapy_platform.embedded.postgres import Postgres
from support.platform.services import fresh_database

COLUMNS = text("""
SELECT table_name, column_name, data_type, is_nullable, column_default, identity_generation
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = :schema AND table_name <> 'alembic_version' AND table_type = 'BASE TABLE'
    AND table_name !~ :partition
""")
PARTITION = "_(kept|other|[0-9]{4}_[0-9]{2})$"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with fresh_database(is_migrated=False) as running:
        migrate(running.owner_url)
        yield running


@pytest.fixture(scope="module")
def owner(server: Postgres) -> Iterator[Engine]:
    engine = create_engine(server.owner_url)
    yield engine
    engine.dispose()


def _is_compared(_schema_object: object, name: str | None, kind: str, is_reflected: bool, _twin: object) -> bool:
    """Indexes are written in migrations alone, so the classes of the rows know none."""
    is_partition = kind == "table" and re.search(PARTITION, name or "") is not None
    return name != "alembic_version" and not is_partition and not (kind == "index" and is_reflected)


def _differences(owner: Engine) -> list[Any]:
    with owner.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": _is_compared})
        return list(compare_metadata(context, Workflow.metadata))


def test_alembic_finds_nothing_to_migrate(owner: Engine) -> None:
    assert _differences(owner) == []


def test_every_column_has_the_default_that_its_row_declares(owner: Engine) -> None:
    with owner.connect() as connection:
        connection.execute(text("CREATE SCHEMA declared"))
        Workflow.metadata.create_all(connection.execution_options(schema_translate_map={None: "declared"}))
        migrated, declared = (
            set(map(tuple, connection.execute(COLUMNS, {"schema": schema, "partition": PARTITION})))
            for schema in ("public", "declared")
        )
        connection.rollback()
    assert len(migrated) > 150
    assert migrated == declared


def test_a_column_that_no_migration_makes_is_seen(owner: Engine) -> None:
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE tasks RENAME COLUMN parked TO parked_before"))
    try:
        assert {difference[0] for difference in _differences(owner)} == {"add_column", "remove_column"}
    finally:
        with owner.begin() as connection:
            connection.execute(text("ALTER TABLE tasks RENAME COLUMN parked_before TO parked"))


def test_migrating_again_changes_nothing(server: Postgres, owner: Engine) -> None:
    migrate(server.owner_url)
    assert _differences(owner) == []
