"""What two tasks may know of each other: at once.

Channels), and one after the other in what may be the same warm worker (residue.
"""

import json
from datetime import datetime
from typing import Any

import httpx2
import pytest

from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits
from security.attack_platform import Attacked, Told
from security.attack_table import Table

SECONDS = 2.0
SAYS_LONGER_SECONDS = 2.5  # for it may begin as much earlier
PAIRS = (("speaker", "listener"), ("reader_of_shared_files", "watcher_of_shared_files"))
LOOKS = [
    f"residue:{name}"
    for name in (
        *(
            "files",
            "processes_and_threads",
            "environment",
            "patched_modules",
            "settings_of_the_interpreter",
            "settings_of_the_process",
        ),
        *("kernel_objects", "memory", "random_state"),
    )
]
ROUNDS = 3
SAMPLE = {"is_rival": [True]}
SLOTS = WarmLimits().slots


@pytest.mark.parametrize("is_rival", [False, True], ids=["of-one-function", "of-two-companies"])
@pytest.mark.parametrize(("says", "looks"), PAIRS, ids=[looks for _says, looks in PAIRS])
def test_two_that_run_at_once_have_no_channel(
    under_attack: Attacked, table: Table, says: str, looks: str, is_rival: bool
) -> None:
    client, rival = under_attack.client, under_attack.rival if is_rival else under_attack.client
    (said,) = under_attack.submit(
        [under_attack.request("roomy", [f"channels:{says}"], seconds=SECONDS + SAYS_LONGER_SECONDS)], rival
    )
    (looked,) = under_attack.submit([under_attack.request("roomy", [f"channels:{looks}"], seconds=SECONDS)], client)
    told, other = under_attack.ended(looked, client), under_attack.ended(said, rival)
    tries = told.reports[f"channels:{looks}"]
    table.add(f"channels-{looks}-{'rival' if is_rival else 'own'}", tries, told.end)
    assert (told.end, other.end) == (("completed", ""), ("completed", ""))
    assert overlap_seconds(told, other) > 1
    assert len(tries) > 3
    assert not [item for item in tries if item["escaped"]], tries


def overlap_seconds(one: Told, other: Told) -> float:
    spans = [
        tuple(datetime.fromisoformat(told.task["attempts"][0][name]) for name in ("started_at", "ended_at"))
        for told in (one, other)
    ]
    return (min(span[1] for span in spans) - max(span[0] for span in spans)).total_seconds()


@pytest.mark.parametrize("first", ["leave_everything", "fill_memory"])
@pytest.mark.parametrize("is_rival", [False, True], ids=["of-one-function", "of-two-companies"])
def test_the_second_task_finds_nothing_of_the_first(
    under_attack: Attacked, table: Table, first: str, is_rival: bool
) -> None:
    second = under_attack.rival if is_rival else under_attack.client
    for round_number in range(ROUNDS):
        left = under_attack.run("one", f"residue:{first}")
        assert left.end == ("completed", ""), (left.sentence, left.log)
        for look in LOOKS if round_number == 0 else LOOKS[:1]:
            _finds_nothing(under_attack.run("one", look, client=second), look, table)


@pytest.mark.parametrize(("leaves", "looks"), [("leave_a_result", "result_and_names"), ("leave_sockets", "sockets")])
def test_a_task_finds_no_result_name_or_socket_of_those_before_it(
    under_attack: Attacked, table: Table, leaves: str, looks: str
) -> None:
    """As many before it as a warm sandbox has slots, and more: whichever it runs in has served one of them."""
    for _ in range(SLOTS + 1):
        left = under_attack.run("one", f"residue:{leaves}")
        assert left.end == ("completed", ""), (left.sentence, left.log)
    for _ in range(ROUNDS):
        _finds_nothing(under_attack.run("one", f"residue:{looks}"), f"residue:{looks}", table)


@pytest.mark.parametrize("first", ["leave_everything", "leave_what_is_put_back", "fill_memory"])
def test_a_call_of_a_reused_process_finds_what_it_must_not_find_nowhere(
    under_attack: Attacked, table: Table, first: str
) -> None:
    """What may be found, in the module and in memory, is named on the page on security."""
    for look in ("what_was_put_back", "environment", "kernel_objects", "files"):
        left = under_attack.run("reused", f"residue:{first}")
        assert left.end == ("completed", ""), (left.sentence, left.log)
        _finds_nothing(under_attack.run("reused", f"residue:{look}"), f"residue:{look}", table)


def test_another_company_never_meets_a_reused_process(under_attack: Attacked, table: Table) -> None:
    counted = [_calls(under_attack, under_attack.client) for _ in range(3)]
    assert max(counted) > 1 or not under_attack.backend.name.startswith("bubblewrap-warm"), counted
    assert _calls(under_attack, under_attack.rival) == 1
    for look in LOOKS:
        under_attack.run("reused", "residue:leave_what_is_put_back")
        _finds_nothing(under_attack.run("reused", look, client=under_attack.rival), look, table)


def _calls(under_attack: Attacked, client: httpx2.Client) -> int:
    tries = under_attack.run("reused", "residue:calls_of_this_process", client=client).reports
    return int(tries["residue:calls_of_this_process"][0]["answer"])


def _finds_nothing(told: Told, look: str, table: Table) -> None:
    tries = told.reports[look]
    table.add(look.replace(":", "-"), tries, told.end)
    assert told.end == ("completed", ""), (told.sentence, told.log)
    assert tries
    assert not [item for item in tries if item["escaped"]], tries


def test_no_two_tasks_draw_the_same_random_numbers(under_attack: Attacked) -> None:
    drawn = [_drawn(under_attack, client) for client in (under_attack.client, under_attack.client, under_attack.rival)]
    assert len({item["random"][0] for item in drawn}) == 3
    assert len({item["urandom"] for item in drawn}) == 3


def _drawn(under_attack: Attacked, client: httpx2.Client) -> dict[str, Any]:
    tries = under_attack.run("one", "residue:random_state", client=client).reports["residue:random_state"]
    found: dict[str, Any] = json.loads(next(item["answer"] for item in tries if item["what"] == "random numbers"))
    return found


def test_two_companies_never_share_a_hash_seed(under_attack: Attacked) -> None:
    mine, theirs = (_drawn(under_attack, client) for client in (under_attack.client, under_attack.rival))
    assert mine["hash"] != theirs["hash"]
