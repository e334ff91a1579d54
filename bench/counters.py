"""What a run of tasks asked of PostgreSQL and Valkey: transactions, rows, log flushes, commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from redis import Redis

from bench.stored import broker_address, worker_address

DATABASE = """
SELECT xact_commit AS transactions, tup_inserted AS rows_inserted, tup_updated AS rows_updated,
       (SELECT sum(n_tup_hot_upd) FROM pg_stat_user_tables) AS hot_updates,
       (SELECT sum(idx_scan) FROM pg_stat_user_indexes) AS index_scans,
       (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal') AS wal_flushes,
       (SELECT wal_bytes / 1024 FROM pg_stat_wal) AS wal_kib
FROM pg_stat_database WHERE datname = current_database()
"""


@contextmanager
def counted(data: Path) -> Iterator[dict[str, float]]:
    """Fills what was counted meanwhile. Reading the counters costs a few transactions of its own."""
    found: dict[str, float] = {}
    before = _read(data)
    yield found
    found |= {name: value - before.get(name, 0.0) for name, value in _read(data).items()}


def _read(data: Path) -> dict[str, float]:
    with psycopg.connect(worker_address(data, "postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        cursor = connection.execute(DATABASE)
        row = cursor.fetchone() or ()
        found = {column.name: float(value or 0) for column, value in zip(cursor.description or (), row, strict=True)}
    with Redis.from_url(broker_address(data)) as broker:
        for name, stats in broker.info("commandstats").items():
            found[f"valkey {name.removeprefix('cmdstat_')}"] = float(stats["calls"])
    return found


def lines(found: dict[str, float], tasks: int) -> list[str]:
    """Per task, without what stayed still."""
    said = [f"{name} {value / tasks:.2f}" for name, value in sorted(found.items()) if value / tasks >= 0.01]
    return ["  a task: " + ", ".join(said)]
