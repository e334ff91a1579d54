"""Workflows, runs, studies and schedules: 0005_workflows.sql, and the rights on it.

Revision ID: 0005
"""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"

ORGANIZATIONS = "ANY (string_to_array(nullif(current_setting('mecapy.organizations', true), ''), ',')::uuid[])"
TENANT_TABLES = {  # the rights of the application
    "workflows": "SELECT, INSERT, UPDATE, DELETE",
    "workflow_versions": "SELECT, INSERT",
    "workflow_version_uses": "SELECT, INSERT",
    "runs": "SELECT, INSERT, UPDATE, DELETE",
    "run_nodes": "SELECT, INSERT, UPDATE, DELETE",
    "calls": "SELECT, INSERT, UPDATE, DELETE",
    "studies": "SELECT, INSERT, UPDATE, DELETE",
    "schedules": "SELECT, INSERT, UPDATE, DELETE",
    "schedule_firings": "SELECT",
}


def upgrade() -> None:
    for statement in Path(__file__).with_name("0005_workflows.sql").read_text("utf-8").split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table, rights in TENANT_TABLES.items():
        inside = f"(organization_id = {ORGANIZATIONS})"
        op.execute(f"GRANT {rights} ON {table} TO mecapy_app")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO mecapy_worker")
        op.execute(f"CREATE POLICY tenant ON {table} TO mecapy_app USING {inside} WITH CHECK {inside}")
        op.execute(f"CREATE POLICY platform ON {table} TO mecapy_worker USING (true) WITH CHECK (true)")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON due_marks TO mecapy_worker")
    op.execute(
        "GRANT INSERT ON due_marks TO mecapy_app"
    )  # who ends something says so; nobody reads what is due to others
    op.execute("GRANT SELECT ON state_transitions TO mecapy_app, mecapy_worker")
