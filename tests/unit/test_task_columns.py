"""Each list of a task's columns against the table of them all: a column that is added to one list alone fails here."""

import inspect
import re
from dataclasses import fields

from mecapy_platform.api import fast_render, task_views
from mecapy_platform.core.states import Usage
from mecapy_platform.db import adopt
from mecapy_platform.db.functions import FOLDER
from mecapy_platform.db.tables import Task
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.tasks import submit
from mecapy_platform.services.tasks.ending import PLAIN, Failures
from mecapy_platform.services.tasks.inserting import CARRIED, OWN, PARENTS, PLACES, SHARED

COLUMNS = set(Task.__table__.columns.keys())
GIVEN_BY_THE_DATABASE = {"sequence", "created_at"}
WRITTEN_MEANWHILE = {"cancel_requested_at"}
WRITTEN_BY_EARLIER_VERSIONS = {"result_s3_key"}
NOT_TOLD = {  # of a task, to those who ask for it
    *(
        "sequence",
        "rank",
        "claimable",
        "hold_reason",
        "not_before",
        "needs",
        "retries",
        "attempt_token",
        "node",
        "result_s3_key",
    ),
    *("machine_failures", "own_failures", "outages", "run_id", "node_id", "study_id", "point", "batch_id"),
    *("calls_count", "share_cost"),
    *("inputs_ref", "result_ref", "attempts"),
}
TOLD_AS = {"package_version_id": "version_id", "runtime_seconds": "wall_seconds"}
OF_OTHERS = {"package", "function", "attempts"}  # in an answer, from other tables


def sql(name: str) -> str:
    return (FOLDER / f"{name}.sql").read_text("utf-8")


def names_of(listed: str) -> set[str]:
    """The first word of each part of a list."""
    return {part.split()[0] for part in listed.split(",")}


def inserted() -> set[str]:
    (listed,) = re.findall(r"INSERT INTO tasks \((.*?)\)", sql("mecapy_insert_tasks"), re.DOTALL)
    return names_of(listed)


def set_by(function: str) -> set[str]:
    """The columns of tasks that a function's UPDATE writes."""
    (assigned,) = re.findall(r"UPDATE tasks t SET (.*?)\n\s+FROM ", sql(function), re.DOTALL)
    return set(
        re.findall(r"(?:^|[\s,])(\w+) = (?!'queued'|'completed')", re.sub(r"\([^()]*\)|WHEN .*? THEN", "", assigned))
    )


def test_every_column_is_written_by_the_insert_the_take_or_the_end() -> None:
    later = set_by("mecapy_take") | set_by("mecapy_end") | GIVEN_BY_THE_DATABASE | WRITTEN_MEANWHILE
    later |= WRITTEN_BY_EARLIER_VERSIONS
    assert inserted() | later == COLUMNS
    assert not inserted() & (GIVEN_BY_THE_DATABASE | WRITTEN_MEANWHILE)


def test_both_submits_hand_over_what_the_insert_reads() -> None:
    made = set(re.findall(r'^        "(\w+)":', inspect.getsource(submit.columns_of), re.MULTILINE))
    assert made == {*SHARED, *OWN}
    of_all, of_each = re.findall(r"AS [gt] \((.*?)\)", sql("mecapy_insert_tasks"), re.DOTALL)
    assert names_of(of_all) == {*SHARED, *PARENTS, "tasks"}
    assert names_of(of_each) | {"calls"} == {*OWN, *PLACES, *CARRIED, "id"}
    assert inserted() == (names_of(of_all) | names_of(of_each)) - {"tasks"} | {"state", "claimable"}


def test_every_claim_hands_out_the_same_fields() -> None:
    wanted = {field.name for field in fields(Claim)} | {"function_id"}
    (taken,) = re.findall(r"RETURNS TABLE \((.*?)\) LANGUAGE", sql("mecapy_take"), re.DOTALL)
    (selected,) = re.findall(r"SELECT (.*?)\nFROM", sql("runnable_functions"), re.DOTALL)
    runnable = {part.split()[-1].rsplit(".", 1)[-1] for part in selected.split(",")}
    assert names_of(taken) | runnable == wanted
    (again,) = re.findall(r"SELECT taken.reference,(.*?), runnable", str(adopt.TAKE_OVER), re.DOTALL)
    assert {part.split()[-1].rsplit(".", 1)[-1] for part in again.split(",")} == names_of(taken) - {"function_id"}


def test_an_end_is_read_as_it_is_written() -> None:
    of_attempts, of_tasks = re.findall(r"AS g \((.*?)\)", sql("mecapy_end"), re.DOTALL)
    parts = {field.name for part in (Usage, Failures) for field in fields(part)}
    assert names_of(of_attempts) | names_of(of_tasks) == {*PLAIN, *parts, "result_key"}  # the last of workers of 0003


def told() -> set[str]:
    """The fields of the view of answers."""
    (selected,) = re.findall(r"SELECT (t\.id.*?)\nFROM tasks", sql("task_answers"), re.DOTALL)
    flat = re.sub(r"\((?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*\)", "", selected)
    return {part.split()[-1].rsplit(".", 1)[-1] for part in flat.split(",")}


def test_every_column_is_told_or_known_not_to_be() -> None:
    assert {TOLD_AS.get(name, name) for name in COLUMNS - NOT_TOLD} == told() - OF_OTHERS


def test_both_paths_render_what_the_view_tells() -> None:
    fast = set(re.findall(r'"(\w+)"', inspect.getsource(fast_render)))
    full = {TOLD_AS.get(name, name) for name in re.findall(r"\b(?:task|row)\.(\w+)", inspect.getsource(task_views))}
    judged_by, put_in_as_they_lie = {"organization_id"}, {"inputs", "files", "result"}  # see api/spliced
    assert told() - judged_by <= fast
    assert told() - judged_by - OF_OTHERS - put_in_as_they_lie <= full
