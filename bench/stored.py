"""Fills a platform's database with finished tasks, as its owner could have run them."""

from pathlib import Path
from urllib.parse import quote

import psycopg

from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.postgres import DATABASE, SOCKET_PORT

# Copies one real task of the benchmark's function; the copies differ in id and time alone.
COPY = """
INSERT INTO tasks (organization_id, user_id, function_id, package_version_id, name, state, lane, rank, claimable,
    inputs, inputs_digest,
                   cpu, memory_mb, timeout_seconds, attempts, created_at, started_at, completed_at, runtime_seconds,
                       result)
SELECT f.organization_id, v.created_by, f.id, v.id, 'stored', 'completed', 'high_priority', 0, false, '{"nonce": 1}',
    'digest',
       f.cpu, f.memory_mb, f.timeout_seconds, 1, now() - n * interval '1 second', now(), now(), 0.05, '{"answer": 4}'
FROM functions f JOIN package_versions v ON v.id = f.package_version_id, generate_series(1, %s) n
"""
EVENTS = (
    "INSERT INTO events (organization_id, task_id, kind) SELECT organization_id, id, 'TaskFinished' FROM tasks "
    "WHERE name = 'stored'"
)
ATTEMPTS = """
INSERT INTO attempts (organization_id, task_id, number, token, node, worker, backend, cpu, memory_mb, lane,
                      lease_until, ended_at, state, leftovers_removed)
SELECT organization_id, id, 1, gen_random_uuid(), 'n', 'w', 'bubblewrap', cpu, memory_mb, lane, now(), now(),
    'completed', true
FROM tasks WHERE name = 'stored'
"""


def add_finished_tasks(data: Path, rows: int) -> None:
    """Insert, then vacuum and analyse as autovacuum would have done over days.

    As the superuser without triggers: these rows begin with their end, which the table of states allows nobody.
    """
    with psycopg.connect(worker_address(data, "postgres"), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(COPY, (rows,))
        connection.execute(ATTEMPTS)
        connection.execute(EVENTS)
    with psycopg.connect(worker_address(data, "postgres"), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE tasks")
        connection.execute("VACUUM ANALYZE attempts")
        connection.execute("VACUUM ANALYZE events")


def worker_address(data: Path, role: str = "mecapy_worker") -> str:
    """libpq's address of the platform's database, over its socket."""
    layout = Layout(data)
    values = secrets.read(layout)
    if values is None:
        raise RuntimeError(f"{data} holds no platform")
    return (
        f"host={layout.postgres_run} port={SOCKET_PORT} dbname={DATABASE} user={role} password={values.passwords[role]}"
    )


def broker_address(data: Path) -> str:
    """Valkey's address with its password, from its own configuration: its socket, or the port of an older version."""
    lines = (Layout(data).valkey / "valkey.conf").read_text().splitlines()
    values = dict(line.split(" ", 1) for line in lines)
    if "unixsocket" in values:
        return f"unix://:{values['requirepass']}@{quote(values['unixsocket'].strip(chr(34)))}"
    return f"redis://:{values['requirepass']}@127.0.0.1:{values['port']}/0"
