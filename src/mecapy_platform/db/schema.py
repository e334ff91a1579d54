"""Brings a database to the newest schema. Run as the owner's role; the application's roles own nothing."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from mecapy_platform.core.states import INITIAL_STATES, TRANSITIONS
from mecapy_platform.db.functions import FOLDER, install

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(owner_url: str, revision: str = "head", functions: Path = FOLDER) -> None:
    """Up to `revision`; at the newest one, also install the SQL functions where their files have changed."""
    engine = create_engine(owner_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('mecapy-migrate', 0))"))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if revision == "head":
                install(connection, functions)
                _write_transitions(connection)
    finally:
        engine.dispose()


def _write_transitions(connection: Connection) -> None:
    """The table that the trigger on tasks looks at says what core/states says."""
    wanted = {("", state.value) for state in INITIAL_STATES}
    wanted |= {(before.value, after.value) for before, states in TRANSITIONS.items() for after in states}
    if {(row.before, row.after) for row in connection.execute(text("SELECT * FROM task_transitions"))} == wanted:
        return
    connection.execute(text("DELETE FROM task_transitions"))
    connection.execute(
        text("INSERT INTO task_transitions (before, after) VALUES (:before, :after)"),
        [{"before": before, "after": after} for before, after in sorted(wanted)],
    )
