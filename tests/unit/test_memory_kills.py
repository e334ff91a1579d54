"""Whose limit a kill for memory was, as the files of a control group tell it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from mecapy_platform.sandbox.docker.control_groups import Groups
from mecapy_platform.sandbox.memory_kills import MemoryKills, count_memory_kills

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
OWN, OTHERS, NONE = MemoryKills(own=2), MemoryKills(others=2), MemoryKills()


def usage(kind: str, most_bytes: int, limit_bytes: int) -> dict[str, str]:
    return {f"{kind}.max_usage_in_bytes": f"{most_bytes}\n", f"{kind}.limit_in_bytes": f"{limit_bytes}\n"}


def in_folder(folder: Path, files: Mapping[str, str]) -> Groups:
    for name, content in files.items():
        (folder / name).write_text(content)
    return Groups({"memory": folder}, 1 if "memory.oom_control" in files else 2)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"memory.oom_control": V1, "memory.failcnt": "37\n", "memory.memsw.failcnt": "0\n"}, OWN),
        ({"memory.oom_control": V1, "memory.failcnt": "0\n", "memory.memsw.failcnt": "4\n"}, OWN),
        ({"memory.oom_control": V1, "memory.failcnt": "0\n", "memory.memsw.failcnt": "0\n"}, OTHERS),
        ({"memory.oom_control": V1, "memory.failcnt": "0\n"}, OTHERS),
        ({"memory.oom_control": V1, **usage("memory", 64 << 20, 64 << 20)}, OWN),
        ({"memory.oom_control": V1, **usage("memory", 60 << 20, 64 << 20)}, OTHERS),
        ({"memory.oom_control": V1, **usage("memory", 1 << 20, 64 << 20), **usage("memory.memsw", 9, 9)}, OWN),
        ({"memory.oom_control": V1.replace("2", "0"), "memory.failcnt": "9\n"}, NONE),
        ({"memory.events": "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n"}, OWN),
        ({"memory.events": "low 0\nhigh 0\nmax 12\noom 0\noom_kill 2\noom_group_kill 1\n"}, OTHERS),
        ({"memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"}, NONE),
        ({}, NONE),
    ],
)
def test_a_kill_is_the_groups_own_only_where_it_was_at_its_limit(
    tmp_path: Path, files: Mapping[str, str], found: MemoryKills
) -> None:
    assert in_folder(tmp_path, files).memory_kills() == found


def test_a_group_that_was_at_its_limit_before_is_not_blamed_when_the_whole_machine_ran_out() -> None:
    """In version 1 the kernel then rings for no group."""
    files = {"memory.oom_control": V1, "memory.failcnt": "37"}
    assert count_memory_kills(lambda name: files.get(name, ""), 1, was_told=True) == OWN
    assert count_memory_kills(lambda name: files.get(name, ""), 1, was_told=False) == OTHERS
