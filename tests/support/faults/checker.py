"""What must hold once accepted tasks have ended, read from the database and from the workers' ledger.

Each ended exactly once.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mecapy_platform.db.session import Database
from support.faults.client import Accepted, expected

FINAL = ("completed", "failed", "timeout", "out_of_memory", "cancelled", "lost")
READ = text("""
SELECT t.id::text AS id, t.state, t.attempts AS attempt_count, t.result, t.error_message,
    (t.inputs->>'nonce')::bigint AS nonce,
       t.lane, t.runtime_seconds, extract(epoch FROM t.completed_at)::float8 AS ended_at,
  (SELECT coalesce(json_agg(json_build_object('number', a.number, 'state', a.state, 'token', a.token, 'wall',
      a.wall_seconds)
                            ORDER BY a.number), '[]') FROM attempts a WHERE a.task_id = t.id) AS attempts,
  (SELECT coalesce(json_agg(json_build_object('kind', e.kind, 'data', e.data)), '[]') FROM events e
      WHERE e.task_id = t.id) AS events,
  (SELECT coalesce(json_agg(json_build_object('name', f.name, 'attempt', f.attempt)), '[]')
   FROM artifacts f WHERE f.task_id = t.id) AS files,
  (SELECT coalesce(json_agg(json_build_object('attempt', l.attempt, 'text', l.text)), '[]')
   FROM task_logs l WHERE l.task_id = t.id AND l.kind = 'stdout') AS lines
FROM tasks t
""")


@dataclass(frozen=True)
class Record:
    """A task with all that was recorded of it."""

    id: str
    state: str
    attempt_count: int
    result: Mapping[str, Any] | None
    error_message: str | None
    nonce: int
    lane: str
    runtime_seconds: float | None
    ended_at: float | None
    attempts: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    files: Sequence[Mapping[str, Any]]
    lines: Sequence[Mapping[str, Any]]

    @property
    def is_ended(self) -> bool:
        return self.state in FINAL


def read_records(database: Database) -> list[Record]:
    with database.transaction() as session:
        return [Record(**row) for row in session.execute(READ).mappings()]


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """One entry per named point that a worker passed. A line that a kill cut short is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def problems(
    records: Sequence[Record],
    accepted: Mapping[str, Accepted],
    ledger: Iterable[Mapping[str, Any]] = (),
    *,
    all_ended: bool = True,
    is_durable: bool = False,
) -> list[str]:
    """Each sentence is a promise broken.

    Without `all_ended`, tasks that still run are left out. With `is_durable`, another worker may
    go on with an attempt under a new token: then the token under which it began is known no more.
    """
    by_id = {record.id: record for record in records}
    found = [f"{task_id}: accepted, but lost" for task_id in accepted.keys() - by_id.keys()]
    nonces = Counter(record.nonce for record in records)
    found += [f"nonce {nonce}: {count} tasks for one request" for nonce, count in nonces.items() if count > 1]
    for record in records:
        promise = accepted.get(record.id)
        if promise is None and all_ended:
            found.append(f"{record.id}: nobody was told of it")
        if record.is_ended:
            found += [f"{record.id} ({record.state}): {sentence}" for sentence in _of_ended(record, promise)]
        elif all_ended:
            found.append(f"{record.id}: still {record.state}")
    return found + _of_ledger(by_id, ledger, is_durable=is_durable)


def _of_ended(record: Record, promise: Accepted | None) -> list[str]:
    ends = [event["data"] for event in record.events if event["kind"] == "TaskFinished"]
    numbers = [attempt["number"] for attempt in record.attempts]
    found = []
    if len(ends) != 1:
        found.append(f"{len(ends)} ends recorded")
    if numbers != list(range(1, record.attempt_count + 1)) or not numbers:
        found.append(f"counted {record.attempt_count} attempts, has {numbers}")
    if any(attempt["state"] is None for attempt in record.attempts):
        found.append("an attempt never ended")
    starts = sum(event["kind"] == "TaskStarted" for event in record.events)
    if starts != len(numbers):
        found.append(f"{starts} starts for {len(numbers)} attempts")
    if promise is not None and promise.function == "failing":
        return found + _of_failed(record)
    return found + _of_completed(record, promise, ends)


def _of_failed(record: Record) -> list[str]:
    tries = sum(attempt["state"] == "user_error" for attempt in record.attempts)
    if record.state != "failed" or tries != 2:
        return [f"should have failed after two tries of its own, had {tries}; {record.error_message}"]
    return [] if not record.files else ["a failed task has files"]


def _of_completed(record: Record, promise: Accepted | None, ends: Sequence[Mapping[str, Any]]) -> list[str]:
    counted = [attempt for attempt in record.attempts if attempt["state"] == "completed"]
    if record.state != "completed" or len(counted) != 1:
        return [f"{len(counted)} attempts count, should be one; {record.error_message}"]
    (one,) = counted
    found = []
    if not record.result or record.result.get("value") != expected(record.nonce):
        found.append(f"its result {record.result} is not that of nonce {record.nonce}")
    if promise is not None and promise.nonce != record.nonce:
        found.append(f"answers for nonce {record.nonce}, its client sent {promise.nonce}")
    if any(end["attempt"] != one["number"] for end in ends):
        found.append("its end names another attempt")
    if record.runtime_seconds != one["wall"]:
        found.append(f"used {record.runtime_seconds} s, its counted attempt {one['wall']} s")
    wanted = [("report", one["number"])] if promise is not None and promise.function.startswith("normal") else []
    files = [(file["name"], file["attempt"]) for file in record.files]
    if files != wanted:
        found.append(f"files {files}, should be {wanted}")
    printed = [line["text"] for line in record.lines if line["attempt"] == one["number"]]
    if printed != [f"nonce {record.nonce}\n"]:
        found.append(f"its log has {printed}")
    return found


def _of_ledger(by_id: Mapping[str, Record], ledger: Iterable[Mapping[str, Any]], *, is_durable: bool) -> list[str]:
    """What workers themselves saw, kept outside the database.

    Every attempt is known there, and at most one completed a task.
    """
    tokens = {
        record.id: {attempt["token"]: attempt["state"] for attempt in record.attempts} for record in by_id.values()
    }
    found = []
    completions: Counter[str] = Counter()
    reports: Counter[str] = Counter()
    for entry in ledger:
        if "task" not in entry:
            continue
        known = tokens.get(entry["task"], {})
        if entry["token"] not in known:
            if is_durable and entry["point"] != "finished":
                continue
            found.append(f"{entry['task']}: a worker ran attempt {entry['attempt']}, which is recorded nowhere")
        elif entry["point"] == "finished":
            reports[entry["token"]] += 1
            completions[entry["task"]] += known[entry["token"]] == "completed"
    found += [f"attempt {token}: reported {count} times" for token, count in reports.items() if count > 1]
    return found + [f"{task}: completed {count} times" for task, count in completions.items() if count > 1]
