"""Installs the SQL functions: one file each, `<name>.sql`, made again as a whole when any of the files has changed.

docs/howto/add-an-sql-function.md says what a file holds. Runs in the transaction of the migrations, as the owner.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, text

FOLDER = Path(__file__).parent
OF_THE_OWNER = frozenset(
    {"mecapy_make_partitions", "mecapy_keep_begin", "mecapy_keep_some", "mecapy_drop_month", "mecapy_note_change"}
)

INSTALLED = text("SELECT name, sha256 FROM installed_functions")
FORGET = text("DELETE FROM installed_functions")
REMEMBER = text("INSERT INTO installed_functions (name, sha256) VALUES (:name, :sha256)")

# Functions of earlier files go, so that none of an older signature is left beside a newer one. Those of triggers stay,
# because tables depend on them, and are replaced: their signature never changes.
OLDER = text("""
SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'public' AND p.proname LIKE 'mecapy\\_%' AND p.prorettype <> 'trigger'::regtype
    AND p.prokind = 'f'
""")


def install(connection: Connection, folder: Path = FOLDER) -> bool:
    """Make the functions of `folder`, unless they are the ones that are there. Returns whether anything was done."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.sql"))}
    wanted = {name: hashlib.sha256(body.encode()).hexdigest() for name, body in texts.items()}
    if {row.name: row.sha256 for row in connection.execute(INSTALLED)} == wanted:
        return False
    _make(connection, texts)
    connection.execute(FORGET)
    connection.execute(REMEMBER, [{"name": name, "sha256": sha256} for name, sha256 in wanted.items()])
    return True


def _make(connection: Connection, texts: Mapping[str, str]) -> None:
    for (signature,) in connection.execute(OLDER).all():
        connection.execute(text(f"DROP FUNCTION {signature}"))
    connection.execute(text("GRANT CREATE ON SCHEMA public TO mecapy_worker"))  # asked of a function's new owner
    raw = connection.connection.driver_connection
    assert raw is not None
    for name, body in texts.items():
        # What runs with its owner's rights belongs to the platform's role, which has no others; but who makes tables.
        is_platforms = "SECURITY DEFINER" in body and name not in OF_THE_OWNER
        connection.execute(text("SET LOCAL ROLE mecapy_worker" if is_platforms else "RESET ROLE"))
        raw.execute(body)  # several statements without parameters, as a driver sends them
    connection.execute(text("RESET ROLE"))
    connection.execute(text("REVOKE CREATE ON SCHEMA public FROM mecapy_worker"))
