"""What later features stand on: 0004_foundation.sql, the rights on it, and the needs of tasks that still wait.

Revision ID: 0004
"""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"

ORGANIZATIONS = "ANY (string_to_array(nullif(current_setting('mecapy.organizations', true), ''), ',')::uuid[])"
TENANT_TABLES = ("stored_values",)
PLATFORM_TABLES = ("workers",)

NEEDS = """
UPDATE tasks t SET needs = ARRAY(
    SELECT CASE WHEN need = 'docker' THEN 'image' ELSE need END
    FROM json_array_elements_text(f.options -> 'needs') AS need
)
FROM functions f WHERE f.id = t.function_id AND t.state IN ('queued', 'running')
    AND json_typeof(f.options -> 'needs') = 'array'
"""


def upgrade() -> None:
    for statement in Path(__file__).with_suffix(".sql").read_text("utf-8").split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in (*TENANT_TABLES, *PLATFORM_TABLES):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO mecapy_worker")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY platform ON {table} TO mecapy_worker USING (true) WITH CHECK (true)")
    for table in TENANT_TABLES:
        inside = f"(organization_id = {ORGANIZATIONS})"
        op.execute(f"GRANT SELECT, INSERT ON {table} TO mecapy_app")
        op.execute(f"CREATE POLICY tenant ON {table} TO mecapy_app USING {inside} WITH CHECK {inside}")
    op.execute("GRANT SELECT ON workers TO mecapy_app")
    op.execute("CREATE POLICY reading ON workers FOR SELECT TO mecapy_app USING (true)")
    op.execute(
        "ALTER TABLE workers SET (autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, "
        "fillfactor = 50)"
    )
    op.execute("GRANT SELECT, UPDATE ON event_counter TO mecapy_worker")
    op.execute("GRANT SELECT ON task_transitions TO mecapy_app, mecapy_worker")
    op.execute("SET LOCAL ROLE mecapy_worker")  # the owner sees no row of a tenant
    op.execute(NEEDS)
    op.execute("RESET ROLE")
