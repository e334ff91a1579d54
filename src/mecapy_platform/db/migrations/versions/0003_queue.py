"""The short ways of the queue.

Functions of 0003_queue.sql, a count of changes to each organization's catalog, and more vacuum.

Revision ID: 0003
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"

CATALOG = {
    "packages": "INSERT OR UPDATE OR DELETE",
    "package_versions": "INSERT OR DELETE OR UPDATE OF status",
}


def upgrade() -> None:
    op.execute("ALTER TABLE organizations ADD COLUMN catalog bigint NOT NULL DEFAULT 0")
    for function in Path(__file__).with_suffix(".sql").read_text("utf-8").split("\n$$;\n"):
        if function.strip():
            op.get_bind().exec_driver_sql(function + "\n$$")
    for table, when in CATALOG.items():
        op.execute(
            f"CREATE TRIGGER catalog AFTER {when} ON {table} FOR EACH ROW EXECUTE FUNCTION mecapy_catalog_changed()"
        )
    op.execute(
        "REVOKE ALL ON FUNCTION mecapy_submit, mecapy_tasks, mecapy_claim_all, mecapy_finish, mecapy_catalog_changed "
        "FROM PUBLIC"
    )
    op.execute("GRANT CREATE ON SCHEMA public TO mecapy_worker")  # PostgreSQL asks it of a function's new owner
    op.execute("ALTER FUNCTION mecapy_catalog_changed OWNER TO mecapy_worker")
    op.execute("REVOKE CREATE ON SCHEMA public FROM mecapy_worker")
    op.execute("GRANT EXECUTE ON FUNCTION mecapy_submit, mecapy_tasks TO mecapy_app, mecapy_worker")
    op.execute("GRANT EXECUTE ON FUNCTION mecapy_claim_all, mecapy_finish TO mecapy_worker")
    for table in ("tasks", "attempts"):
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500, "
            "autovacuum_vacuum_cost_delay = 0, fillfactor = 70)"
        )
    for table in ("lane_shares", "nodes"):
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, "
            f"fillfactor = 50)"
        )
