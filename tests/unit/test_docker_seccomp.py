import json

import pytest

from mecapy_platform.sandbox.syscalls import bpf, tables
from mecapy_platform.sandbox.syscalls.docker_profile import all_but, profile, profile_json


def matches(rules: list[tuple[int, int]], number: int) -> bool:
    return any(number & mask == value for mask, value in rules)


@pytest.mark.parametrize(
    "number", [0, 1, 0x5411, 0x5413, 0x541B, 0x541D, 0x5401, 0x80045430, 0xFFFFFFFF, 0x1_0000_5413]
)
def test_every_other_number_is_matched(number: int) -> None:
    assert matches(list(all_but((0x5412, 0x541C))), number)


@pytest.mark.parametrize("number", [0x5412, 0x541C, 0x1_0000_5412, 0xFFFF_FFFF_0000_541C])
def test_an_excluded_number_is_not_matched_whatever_lies_in_its_high_half(number: int) -> None:
    assert not matches(list(all_but((0x5412, 0x541C))), number)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_profile_allows_what_the_filter_of_bubblewrap_allows_and_nothing_else(machine: str) -> None:
    made = profile(machine)
    allowed = {name for rule in made["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert allowed == set(tables.numbers(bpf.ARCHITECTURES[machine].table)) - set(bpf.FLUSHING)
    assert made["defaultAction"] == "SCMP_ACT_ERRNO"


def test_what_is_looked_at_closely_is_never_allowed_without_a_condition() -> None:
    rules = json.loads(profile_json())["syscalls"]
    for name in ("clone", "socket", "socketpair", "ioctl", "personality"):
        mine = [rule for rule in rules if name in rule["names"] and rule["action"] == "SCMP_ACT_ALLOW"]
        assert mine, name
        assert all(rule["args"] for rule in mine), name


def test_clone_is_allowed_only_without_a_new_namespace() -> None:
    (rule,) = [rule for rule in profile("x86_64")["syscalls"] if rule["names"] == ["clone"]]
    (argument,) = rule["args"]
    assert argument["op"] == "SCMP_CMP_MASKED_EQ"
    assert argument["valueTwo"] == 0
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert argument["value"] & flag
    assert not argument["value"] & 0xFF  # the signal, which an ordinary fork gives


def test_what_would_flush_a_disk_answers_nought() -> None:
    (rule,) = [rule for rule in profile("x86_64")["syscalls"] if "sync" in rule["names"]]
    assert set(rule["names"]) == {"sync", "syncfs", "fsync", "fdatasync", "sync_file_range"}
    assert (rule["action"], rule["errnoRet"], rule["args"]) == ("SCMP_ACT_ERRNO", 0, [])
