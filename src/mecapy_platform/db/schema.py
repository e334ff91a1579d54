"""Brings a database to the newest schema. Run as the owner's role; the application's roles own nothing."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from mecapy_platform.core.states import INITIAL_STATES, TRANSITIONS
from mecapy_platform.core.workflows.states import KINDS
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
                _write_state_transitions(connection)
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


def _write_state_transitions(connection: Connection) -> None:
    """The same for runs, nodes, calls and studies."""
    wanted = {(kind, "", str(first)) for kind, (first, _) in KINDS.items()}
    wanted |= {
        (kind, str(before), str(after))
        for kind, (_, follow) in KINDS.items()
        for before, states in follow.items()
        for after in states
    }
    if {tuple(row) for row in connection.execute(text("SELECT kind, before, after FROM state_transitions"))} == wanted:
        return
    connection.execute(text("DELETE FROM state_transitions"))
    connection.execute(
        text("INSERT INTO state_transitions (kind, before, after) VALUES (:kind, :before, :after)"),
        [{"kind": kind, "before": before, "after": after} for kind, before, after in sorted(wanted)],
    )
