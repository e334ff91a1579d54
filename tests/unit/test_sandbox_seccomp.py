"""The filter, run by a small interpreter of the few BPF instructions it uses."""

import errno
import struct
from functools import cache

import pytest

from mecapy_platform.sandbox.syscalls import bpf, tables
from mecapy_platform.sandbox.syscalls.bpf import (
    ALLOW,
    ARCHITECTURES,
    DENY,
    DONE,
    KILL,
    NO_FAMILY,
    UNKNOWN,
    assemble,
    assemble_last,
)

TABLES = {machine: tables.numbers(item.table) for machine, item in ARCHITECTURES.items()}
INSTRUCTIONS_MAX = 4096  # the kernel's limit


@cache
def program(machine: str) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("<HBBI", assemble(machine)))


@cache
def zygote_programs(machine: str) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    first = assemble(machine, tables.SETUP[machine])
    return list(struct.iter_unpack("<HBBI", first)), list(struct.iter_unpack("<HBBI", assemble_last(machine)))


def verdict(
    machine: str, number: int, *arguments: int, audit: int | None = None, code: list[tuple[int, ...]] | None = None
) -> int:
    """What a filter, that of a cold run if none is named, answers for a call."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, ARCHITECTURES[machine].audit if audit is None else audit, 0, *padded)
    code = code or program(machine)
    value, at = 0, 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        if operation == bpf.RETURN:
            return int(operand)
        if operation == bpf.LOAD:
            (value,) = struct.unpack_from("<I", data, operand)
        elif operation == bpf.JUMP:
            at += operand
        else:
            holds = {
                bpf.EQUAL: value == operand,
                bpf.AT_LEAST: value >= operand,
                bpf.SOME_BITS: bool(value & operand),
            }
            at += yes if holds[operation] else no


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_number_gets_the_verdict_of_its_table(machine: str) -> None:
    allowed = set(TABLES[machine].values())
    looked_at = {
        TABLES[machine][name] for name in ("clone", "socket", "socketpair", "ioctl", "personality", *bpf.FLUSHING)
    }
    for number in range(max(allowed) + 1):
        if number == ARCHITECTURES[machine].clone3:
            assert verdict(machine, number) == UNKNOWN
        elif number not in looked_at:
            assert verdict(machine, number) == (ALLOW if number in allowed else DENY), number


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_newer_calls_and_foreign_numbers_are_unknown(machine: str) -> None:
    assert verdict(machine, max(TABLES[machine].values()) + 1) == UNKNOWN
    assert verdict(machine, 0x40000000 + 1) == UNKNOWN


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_another_architecture_is_killed(machine: str) -> None:
    assert verdict(machine, 1, audit=0x40000003) == KILL


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("flag", [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000])
def test_clone_makes_no_namespace(machine: str, flag: int) -> None:
    assert verdict(machine, TABLES[machine]["clone"], flag | 17) == DENY


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_clone_makes_processes_and_threads(machine: str) -> None:
    assert verdict(machine, TABLES[machine]["clone"], 17) == ALLOW
    assert verdict(machine, TABLES[machine]["clone"], 0x3D0F00) == ALLOW


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize(
    ("family", "answer"), [*((item, ALLOW) for item in (1, 2, 10)), *((item, NO_FAMILY) for item in (16, 17, 38, 40))]
)
def test_only_local_socket_families_open(machine: str, family: int, answer: int) -> None:
    assert verdict(machine, TABLES[machine]["socket"], family) == answer
    assert (
        verdict(machine, TABLES[machine]["socket"], family | 1 << 32) == answer
    )  # the kernel reads the low half alone


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("name", ["sync", "syncfs", "fsync", "fdatasync", "sync_file_range"])
def test_what_would_flush_a_disk_answers_nought_and_does_nothing(machine: str, name: str) -> None:
    assert verdict(machine, TABLES[machine][name]) == DONE == 0x00050000  # an error whose number is 0


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_terminal_injection_is_refused(machine: str) -> None:
    assert verdict(machine, TABLES[machine]["ioctl"], 0, 0x5412) == DENY
    assert verdict(machine, TABLES[machine]["ioctl"], 0, 0x5412 | 1 << 40) == DENY
    assert verdict(machine, TABLES[machine]["ioctl"], 0, 0x5401) == ALLOW


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_dangerous_calls_are_in_no_table_and_the_program_fits(machine: str) -> None:
    namespaces = {"unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "clone3", "open_by_handle_at"}
    spying = {
        "ptrace",
        "process_vm_readv",
        "pidfd_getfd",
        "perf_event_open",
        "userfaultfd",
        "keyctl",
        "add_key",
        "request_key",
    }
    dangerous = namespaces | spying | {"bpf", "io_uring_setup", "kexec_load", "init_module"}
    assert not dangerous & TABLES[machine].keys()
    assert len(assemble(machine)) // 8 <= INSTRUCTIONS_MAX
    assert DENY & 0xFFFF == errno.EPERM


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_two_filters_of_a_warm_call_together_answer_as_the_cold_one(machine: str) -> None:
    """The kernel takes the strictest answer: of two errors the first filter's, and either error before "allow"."""
    first, last = zygote_programs(machine)
    setup = tables.numbers(tables.SETUP[machine]).values()
    arguments = [(0, 0), (0x7E020080, 0x5412), (16, 0x541C), (40, 1), (1, 0x5401), (0x10000000, 0)]
    for number in (*range(max(TABLES[machine].values()) + 3), 0x40000001):
        for some in arguments:
            lower, upper = (verdict(machine, number, *some, code=code) for code in (first, last))
            assert (upper if lower == ALLOW else lower) == verdict(machine, number, *some), (number, some)
    assert all(verdict(machine, number, code=first) == ALLOW for number in setup)
    assert verdict(machine, 1, audit=0x40000003, code=last) == KILL
