"""The attack suite through the real API, on every backend that is present.

No case escapes, each task ends as it must.
"""

import os

import pytest

from security.attack_platform import CANARY, PROFILES, Attacked, Told
from security.attack_table import Table
from security.cases import CASES, Case
from security.cases import SAMPLE as KINDS
from support.platform.embedded_process import wait_for

GRACE_SECONDS, BUSY_SECONDS = 1, 15
NAMES = [case.id if case.function == "many" else f"{case.id}-as-a-task" for case in CASES]
SAMPLE = {"case": KINDS}
SWAPPED = [case for case in CASES if case.group == "outputs"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_attack_is_held_and_its_task_ends_as_it_must(under_attack: Attacked, table: Table, case: Case) -> None:
    told = under_attack.told_of(case)
    tries = told.reports.get(case.attack, [])
    table.add(case.id, tries, told.end)
    assert not [item for item in tries if item["escaped"]], tries
    assert tries, f"it tried nothing: {told.end} {told.sentence} {told.log[-2000:]}"
    assert not [item for item in tries if item.get("lost")], tries
    assert told.end in case.ends, f"{told.end}: {told.sentence} {told.log[-2000:]}"
    assert case.words in told.sentence
    assert len(told.task["attempts"]) == 1
    assert told.task["usage"]["wall_seconds"] < PROFILES[case.function][1] + GRACE_SECONDS + BUSY_SECONDS


@pytest.mark.parametrize("case", SWAPPED, ids=[case.id for case in SWAPPED])
def test_what_is_collected_holds_nothing_of_the_host(under_attack: Attacked, case: Case) -> None:
    told = under_attack.told_of(case)
    for text in (told.log, *_contents(under_attack, told)):
        assert "root:" not in text
        assert "task:x:" not in text
        assert CANARY not in text


def _contents(under_attack: Attacked, told: Told) -> list[str]:
    found = under_attack.client.get(f"/tasks/{told.task['id']}/artifacts").json()["artifacts"]
    return [under_attack.client.get(item["url"]).text for item in found[:20]]


def test_names_that_look_like_ways_up_come_back_under_their_own_task(under_attack: Attacked) -> None:
    case = next(case for case in CASES if case.attack == "outputs:names_that_look_like_ways_up")
    contents = _contents(under_attack, under_attack.told_of(case))
    assert contents == ["harmless"] * 10


def test_memory_stays_below_its_limit_in_every_task(under_attack: Attacked) -> None:
    for key, told in under_attack.told.items():
        peak = told.task["usage"]["peak_memory_mb"]
        limit = PROFILES[told.task["function"]][0]
        assert peak is None or peak <= limit + 1, (key, peak)


def test_calls_of_a_warm_backend_alone_ran_in_what_was_started_ahead(under_attack: Attacked) -> None:
    ahead = sum(told.was_started_ahead for told in under_attack.told.values()) / len(under_attack.told)
    assert ahead > 0.5 if under_attack.backend.is_warm else ahead == 0, ahead


def test_nobody_reached_the_hosts_own_sockets(under_attack: Attacked) -> None:
    assert under_attack.host.noticed() == []


def test_every_process_of_the_platform_is_the_one_it_was(under_attack: Attacked) -> None:
    assert under_attack.running.parts == under_attack.parts
    assert under_attack.run("many", "descriptors:standard_streams").end == ("completed", "")


def test_nothing_of_any_attack_is_left(under_attack: Attacked) -> None:
    left = wait_for(lambda: [] if under_attack.left() else ["nothing"], "nothing of any attack is left", 20)
    assert left == ["nothing"]


def test_the_suite_is_as_large_as_promised() -> None:
    assert len({case.attack for case in CASES}) >= 80
    assert len({case.group for case in CASES}) >= 11


@pytest.mark.skipif(os.geteuid() != 0, reason="one uid for all when an ordinary user starts the platform")
def test_no_task_ran_as_a_user_of_the_platform(under_attack: Attacked) -> None:
    told = under_attack.run("many", "other_processes:becomes_another_user")
    answers = {item["what"]: item["answer"] for item in told.reports["other_processes:becomes_another_user"]}
    platforms = {(under_attack.running.data / name).stat().st_uid for name in ("files", "postgres", "valkey")}
    assert int(answers["uid"]) not in {0, os.getuid(), *platforms}
