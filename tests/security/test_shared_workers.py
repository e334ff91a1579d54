"""The attack suite by calls that share a worker: what one of them may know and reach is what any call may."""

import json
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from mecapy_platform.core.ids import new_id
from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.postgres import DATABASE, SOCKET_PORT
from security.attack_platform import CASES_OF_A_BATCH, Attacked
from security.attack_table import Table
from security.cases import CASES
from support.platform.embedded_process import wait_for

ROUNDS = 2
FUNCTION = """
SELECT f.id AS function_id, f.package_version_id, f.organization_id, f.cpu, f.memory_mb, v.created_by AS user_id,
    v.archive_sha256 AS package_digest, v.environment_digest, v.interpreter
FROM functions f JOIN package_versions v ON v.id = f.package_version_id JOIN packages p ON p.id = v.package_id
WHERE p.name = 'attacks' AND f.name = 'many' ORDER BY v.created_at DESC LIMIT 1
"""
CALL = """
INSERT INTO calls (id, organization_id, study_id, index, function_id, inputs) VALUES (%s, %s, %s, %s, %s, %s)
"""
ENDS = "SELECT state, error_message, result, log FROM calls WHERE study_id = %s ORDER BY index"


def connected(under_attack: Attacked) -> "psycopg.Connection[dict[str, Any]]":
    """As the platform's own workers."""
    layout = Layout(under_attack.running.data)
    values = secrets.read(layout)
    assert values is not None
    return psycopg.connect(
        host=str(layout.postgres_run),
        port=SOCKET_PORT,
        dbname=DATABASE,
        user="mecapy_worker",
        password=values.passwords["mecapy_worker"],
        options="-c mecapy.interface=4",
        autocommit=True,
        row_factory=dict_row,
    )


def carried(connection: "psycopg.Connection[dict[str, Any]]", inputs: list[dict[str, Any]]) -> UUID:
    """A task that carries calls with these inputs, of a study of its own: its id."""
    facts = connection.execute(FUNCTION).fetchone()
    assert facts is not None
    study, ids = new_id(), [new_id() for _ in inputs]
    for index, (call_id, given) in enumerate(zip(ids, inputs, strict=True)):
        place = (call_id, facts["organization_id"], study, index, facts["function_id"], json.dumps(given))
        connection.execute(CALL, place)
    own = {"name": "attacks", "lane": "default", "priority": 9, "rank": 0, "inputs": {}, "inputs_digest": "d"}
    task = {**own, "id": new_id(), "timeout_seconds": 120, "calls": ids, "calls_count": len(ids)}
    submitted = {**facts, "needs": ["calls"], "study_id": study, "carries": True, "tasks": [task]}
    connection.execute("SELECT mecapy_insert_tasks(%s)", (json.dumps(submitted, default=str),))
    return study


def test_no_attack_of_a_call_that_shares_its_worker_escapes(under_attack: Attacked, table: Table) -> None:
    if not under_attack.backend.name.startswith("bubblewrap-warm"):
        pytest.skip("calls share a worker of a warm bubblewrap sandbox alone")
    names = [case.attack for case in CASES if case.function == "many"]
    groups = [names[at : at + CASES_OF_A_BATCH] for at in range(0, len(names), CASES_OF_A_BATCH)] * ROUNDS
    with connected(under_attack) as connection:
        study = carried(connection, [under_attack.request("many", group)["inputs"] for group in groups])

        def ended() -> list[dict[str, Any]] | None:
            found = connection.execute(ENDS, (study,)).fetchall()
            return None if any(call["state"] in ("waiting", "running") for call in found) else found

        wait_for(lambda: ended() is not None, "every call has ended", 300)
        calls = ended() or []
    assert [(call["state"], call["error_message"]) for call in calls] == [("completed", None)] * len(groups)
    ages = [float(call["log"].partition("WAITED ")[2].split()[0]) for call in calls]
    grown = [later - earlier > 0.05 for earlier, later in pairwise(ages)]
    assert sum(grown) >= 3, "calls found a first process that had served others before them"
    reports: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        for name, tries in json.loads(call["result"]["reports"]).items():
            reports.setdefault(name, []).extend(tries)
    assert reports.keys() == set(names)
    for name, tries in reports.items():
        table.add(f"shared-{name.partition(':')[2]}", tries, ("completed", ""))
    escaped = {name: [item for item in tries if item["escaped"]] for name, tries in reports.items()}
    assert {name: found for name, found in escaped.items() if found} == {}
