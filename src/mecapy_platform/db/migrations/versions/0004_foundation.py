"""What later features stand on: 0004_foundation.sql, the rights on it, and the needs of tasks that still wait.

Then the growing tables become partitioned ones (0004_partitions.sql, 0004_indexes.sql) and their rows move there.

Revision ID: 0004
"""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"

ORGANIZATIONS = "ANY (string_to_array(nullif(current_setting('mecapy.organizations', true), ''), ',')::uuid[])"
TENANT_TABLES = ("stored_values",)
PLATFORM_TABLES = ("workers",)
PARTITIONED = {
    "events": "SELECT, INSERT",
    "task_logs": "SELECT",
    "artifacts": "SELECT",
}  # the rights of the application
MONTHS_BEFORE, MONTHS_AHEAD = 24, 2

NEEDS = """
UPDATE tasks t SET needs = ARRAY(
    SELECT CASE WHEN need = 'docker' THEN 'image' ELSE need END
    FROM json_array_elements_text(f.options -> 'needs') AS need
)
FROM functions f WHERE f.id = t.function_id AND t.state IN ('queued', 'running')
    AND json_typeof(f.options -> 'needs') = 'array'
"""


FIRST = """
SELECT uuid_extract_timestamp(id) FROM tasks WHERE uuid_extract_version(id) = 7 ORDER BY id LIMIT 1
"""
COUNT_ON = "SELECT setval(pg_get_serial_sequence('events', 'id'), max(id)) FROM events HAVING count(*) > 0"
ROW_LEVEL_SECURITY = ("ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY")


def upgrade() -> None:
    _run("0004_foundation.sql")
    _grant()
    op.execute("SET LOCAL ROLE mecapy_worker")  # the owner sees no row of a tenant
    op.execute(NEEDS)
    op.execute("RESET ROLE")
    _partition()


def _run(name: str) -> None:
    for statement in Path(__file__).with_name(name).read_text("utf-8").split(";\n"):
        if statement.strip():
            op.execute(statement)


def _grant() -> None:
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


def _partition() -> None:
    """The rows move before row-level security stands on the new tables, and before they have indexes."""
    _run("0004_partitions.sql")
    op.execute("ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY")  # so that the owner sees to which rows keys refer
    bounds = _months(op.get_bind().scalar(text(FIRST)))
    for table in PARTITIONED:
        op.execute(f"ALTER TABLE {table}_before NO FORCE ROW LEVEL SECURITY")
        _make_partitions(table, bounds)
        op.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table}_before")
        op.execute(f"DROP TABLE {table}_before")
    op.execute(COUNT_ON)
    _run("0004_indexes.sql")
    op.execute("ALTER TABLE tasks FORCE ROW LEVEL SECURITY")
    for table in PARTITIONED:
        _protect(table)


def _months(first: datetime | None) -> list[datetime]:
    """The first days of months: from that of the first task, or MONTHS_BEFORE ago, to MONTHS_AHEAD and one."""
    today = datetime.now(UTC)
    now = today.year * 12 + today.month - 1
    begin = now if first is None else min(now, first.year * 12 + first.month - 1)
    numbers = range(max(begin, now - MONTHS_BEFORE), now + MONTHS_AHEAD + 2)
    return [datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in numbers]


def _lowest_id(at: datetime) -> str:
    """The uuidv7 before all of this moment."""
    return f"{int(at.timestamp() * 1000):012x}" + "0" * 20


def _make_partitions(table: str, bounds: list[datetime]) -> None:
    """A month each; before them what is kept or back-dated, and one for what lies in none."""
    lowest = [_lowest_id(bound) for bound in bounds]
    ranges = {
        f"{begin:%Y_%m}": f"FROM ('{low}') TO ('{high}')"
        for begin, (low, high) in zip(bounds, pairwise(lowest), strict=False)
    }
    ranges["kept"] = f"FROM (MINVALUE) TO ('{lowest[0]}')"
    values = {name: f"FOR VALUES {ends}" for name, ends in ranges.items()} | {"other": "DEFAULT"}
    for name, where in values.items():
        op.execute(
            f"CREATE TABLE {table}_{name} PARTITION OF {table} {where} WITH (autovacuum_vacuum_scale_factor = 0.02, "
            "autovacuum_vacuum_insert_scale_factor = 0.05)"
        )
        for word in ROW_LEVEL_SECURITY:
            op.execute(f"ALTER TABLE {table}_{name} {word}")


def _protect(table: str) -> None:
    """As the table before. Its partitions have no rights and no policies: they are reached through it alone."""
    inside = f"(organization_id = {ORGANIZATIONS})"
    op.execute(f"GRANT {PARTITIONED[table]} ON {table} TO mecapy_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO mecapy_worker")
    op.execute(f"CREATE POLICY tenant ON {table} TO mecapy_app USING {inside} WITH CHECK {inside}")
    op.execute(f"CREATE POLICY platform ON {table} TO mecapy_worker USING (true) WITH CHECK (true)")
    for word in ROW_LEVEL_SECURITY:
        op.execute(f"ALTER TABLE {table} {word}")
