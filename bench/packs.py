"""Calls that tasks carry, a fork each and with `reuse`, beside raw Celery, which isolates nobody and keeps nothing.

Usage: python -m bench.packs [--calls N]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg
from celery import Celery

from bench.celery_baseline import SETTINGS, celery_worker
from bench.processes import machine, used_by
from bench.running import Api, Platform, started
from bench.stored import worker_address
from mecapy_platform.core.ids import new_id

Say = Callable[..., None]
PACK = 400
MANIFEST = """
version: "1"
package: {name: packs, version: 1.0.0}
runtime: {kind: python, version: "%s"}
functions:
  forked:
    handler: nonce:answer
    inputs: {nonce: Integer}
    outputs: {answer: Integer, space: String, number: Integer}
    resources: {tier: nano, timeout: 5}
  reused:
    handler: nonce:answer
    inputs: {nonce: Integer}
    outputs: {answer: Integer, space: String, number: Integer}
    resources: {tier: nano, timeout: 5}
platform:
  functions:
    reused: {reuse: 1000}
"""
CODE = """import os
import time

LOADED = time.monotonic_ns()
CALLS = []


def answer(nonce):
    until = time.perf_counter() + 0.0001
    CALLS.append(nonce)
    while time.perf_counter() < until:
        pass
    space = f"{os.stat('/proc/self/ns/pid').st_ino} {LOADED}"
    return {"answer": nonce * 3 + 1, "space": space, "number": len(CALLS)}
"""
FUNCTION = """
SELECT f.id AS function_id, f.package_version_id, f.organization_id, f.cpu, f.memory_mb, f.timeout_seconds,
    v.created_by AS user_id, v.archive_sha256 AS package_digest, v.environment_digest, v.interpreter, v.runtime
FROM functions f JOIN package_versions v ON v.id = f.package_version_id JOIN packages p ON p.id = v.package_id
WHERE p.name = 'packs' AND f.name = %s
"""
CALLS = """
INSERT INTO calls (id, organization_id, study_id, index, function_id, inputs)
SELECT c.id, %s, %s, c.nonce, %s, json_build_object('nonce', c.nonce)
FROM unnest(%s::uuid[], %s::bigint[]) AS c (id, nonce)
"""
SPAN = """
SELECT count(*) FILTER (WHERE state IN ('queued', 'running')), count(*) FILTER (WHERE state = 'completed'),
    extract(epoch FROM max(completed_at) - min(started_at))::float8 FROM tasks WHERE study_id = %s
"""
ENDS = """
SELECT count(*) FILTER (WHERE state = 'completed' AND (result ->> 'answer')::bigint = index * 3 + 1),
    count(DISTINCT result ->> 'space'), count(DISTINCT (result ->> 'space', result ->> 'number')),
    max((result ->> 'number')::int), avg(cpu_seconds) FROM calls WHERE study_id = %s
"""


def packed(connection: "psycopg.Connection[Any]", function: str, count: int) -> Any:
    """Calls of a study of nobody's, in packs, as services/studies would make them; the study's id."""
    cursor = connection.execute(FUNCTION, (function,))
    row = cursor.fetchone()
    assert row is not None
    facts = dict(zip([column.name for column in cursor.description or ()], row, strict=True))
    study, ids = new_id(), [new_id() for _ in range(count)]
    connection.execute(CALLS, (facts["organization_id"], study, facts["function_id"], ids, list(range(count))))
    shared = {name: facts[name] for name in facts if name not in {"timeout_seconds", "runtime"}}
    own = {"name": "points", "lane": "default", "priority": 5, "rank": 4, "inputs": {}, "inputs_digest": "d"}
    tasks = [
        {
            **own,
            "id": new_id(),
            "timeout_seconds": facts["timeout_seconds"],
            "calls": ids[at : at + PACK],
            "calls_count": len(ids[at : at + PACK]),
        }
        for at in range(0, count, PACK)
    ]
    submitted = {
        **shared,
        "needs": ["calls", f"python{facts['runtime']}"],
        "study_id": study,
        "carries": True,
        "tasks": tasks,
    }
    connection.execute("SELECT mecapy_insert_tasks(%s)", (json.dumps(submitted, default=str),))
    return study


def rate(say: Say, connection: "psycopg.Connection[Any]", function: str, count: int) -> float:
    study = packed(connection, function, count)
    while True:
        row = connection.execute(SPAN, (study,)).fetchone()
        assert row is not None
        if row[0] == 0:
            break
        time.sleep(0.1)
    ends = connection.execute(ENDS, (study,)).fetchone()
    assert ends is not None
    right, spaces, distinct, number, cpu = ends
    if right != count:
        raise RuntimeError(f"{right} of {count} calls of {function} answered right")
    say(
        f"  {function}: {count} calls in {row[1]} tasks, {spaces} workers, {distinct} different (worker, its call), "
        f"highest number {number}, CPU of a call {cpu * 1000:.2f} ms"
    )
    return count / float(row[2])


def raw(celery: Celery, count: int) -> float:
    """Sent at once, and each result fetched."""
    began = time.perf_counter()
    sent = [celery.send_task("answer", (nonce,)) for nonce in range(count)]
    for nonce, result in enumerate(sent):
        if result.get(timeout=120, interval=0.001)["answer"] != nonce * 3 + 1:
            raise RuntimeError("wrong answer")
    return count / (time.perf_counter() - began)


def report(say: Say, platform: Platform, celery: Celery, count: int, rounds: int) -> None:
    Api(platform.ready["url"], platform.token("engineer", "first")).deploy("first", MANIFEST, CODE)
    rates: dict[str, list[float]] = {"forked": [], "reused": [], "raw Celery": []}
    with psycopg.connect(worker_address(platform.data), options="-c mecapy.interface=4", autocommit=True) as connection:
        for function in ("forked", "reused"):
            rate(lambda _line: None, connection, function, 2 * PACK)
        memory = [used_by(platform.process.pid).pss_mib]
        for _ in range(rounds):
            for function in ("forked", "reused"):
                rates[function].append(rate(say, connection, function, count))
            rates["raw Celery"].append(raw(celery, min(count, 5000)))
            memory.append(used_by(platform.process.pid).pss_mib)
    for name, found in rates.items():
        say(f"calls a second ({name}): {', '.join(f'{item:.0f}' for item in found)}")
    for name, target in (("forked", 1.5), ("reused", 4.0)):
        ratios = sorted(ours / theirs for ours, theirs in zip(rates[name], rates["raw Celery"], strict=True))
        say(f"rate of {name} / raw Celery: {ratios[len(ratios) // 2]:.2f}   target >= {target}")
    say(f"memory of all processes, MiB: {', '.join(f'{item:.0f}' for item in memory)}   target: + 64 at most")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(machine(), flush=True)
    print(f"raw Celery: {SETTINGS}", flush=True)
    with started() as platform, celery_worker() as (celery, _pid):
        report(lambda line="": print(line, flush=True), platform, celery, asked.calls, asked.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
