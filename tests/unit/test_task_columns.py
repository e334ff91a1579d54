"""Each list of a task's columns against the table of them all: a column that is added to one list alone fails here."""

import inspect
import re
from dataclasses import fields

from mecapy_platform.db import adopt, queue
from mecapy_platform.db.functions import FOLDER
from mecapy_platform.db.tables import Task
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.tasks import submit

COLUMNS = set(Task.__table__.columns.keys())
MADE_LATER = {  # not written by a submit: given by the database, or by what happens to the task
    *("id", "sequence", "created_at", "not_before", "attempts", "machine_failures", "own_failures", "outages"),
    *("attempt_token", "node", "cancel_requested_at", "progress", "started_at", "completed_at", "runtime_seconds"),
    *("cpu_seconds", "peak_memory_mb", "result", "result_s3_key", "error_code", "error_message", "parked"),
    *("retry_of", "run_id", "node_id", "study_id", "point", "batch_id", "inputs_ref", "result_ref"),
}


def sql(name: str) -> str:
    return (FOLDER / f"{name}.sql").read_text("utf-8")


def submitted() -> set[str]:
    """The columns that the long submit writes."""
    return set(re.findall(r'^        "(\w+)":', inspect.getsource(submit.columns_of), re.MULTILINE))


def test_every_column_is_written_by_a_submit_or_known_to_be_made_later() -> None:
    assert submitted() | MADE_LATER == COLUMNS
    assert submitted() & MADE_LATER == set()


def test_the_fast_submit_writes_the_columns_of_the_long_one() -> None:
    (listed,) = re.findall(r"INSERT INTO tasks \((.*?)\)", sql("mecapy_submit"), re.DOTALL)
    # it takes only what can be claimed at once, so it writes no reason to hold
    assert {name.strip() for name in listed.split(",")} == (submitted() - {"hold_reason"}) | {"id"}


def test_every_claim_hands_out_the_same_fields() -> None:
    wanted = {field.name for field in fields(Claim)}
    (heads,) = re.findall(r"json_agg\(json_build_object\((.*?)\) ORDER BY", sql("mecapy_fast_claim"), re.DOTALL)
    facts = set(re.findall(r"'(\w+)',", str(queue.FACTS)))
    assert (set(re.findall(r"'(\w+)',", heads)) | facts) - {"function_id"} == wanted
    for statement in (queue.CLAIM, adopt.TAKE_OVER):
        selected = str(statement).rsplit("SELECT ", 1)[1].split("FROM ")[0]
        names = {part.split()[-1].rsplit(".", 1)[-1] for part in selected.split(",")}
        assert names - {"reference"} == wanted
