"""The same system call rules as bpf.py, in the form that Docker takes: never the daemon's own default.

Docker compares whole 64-bit arguments while the kernel looks at the low half of an `int`, so every rule that forbids a
value is written with a mask over that half.
"""

import errno
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mecapy_platform.sandbox.syscalls import bpf, tables

Rule = dict[str, Any]
LOW_HALF = 0xFFFFFFFF
HIGHEST_FAMILY = 46
NAMES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def profile(machine: str) -> dict[str, Any]:
    """Docker's JSON for `machine`. Newer calls than the table's newest answer ENOSYS: runc adds that by itself."""
    allowed = tables.numbers(bpf.ARCHITECTURES[machine].table)
    looked_at = {name: rules for name, rules in _closer_looks().items() if name in allowed}
    plain = sorted(name for name in allowed if name not in looked_at and name not in bpf.FLUSHING)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [NAMES[machine]],
        "syscalls": [
            {"names": plain, "action": "SCMP_ACT_ALLOW", "args": []},
            _deny(("clone3",), errno.ENOSYS),  # its arguments lie in memory: glibc falls back to clone
            _deny(bpf.FLUSHING, 0),  # answers 0, and nothing is done
            *(rule for rules in looked_at.values() for rule in rules),
        ],
    }


def profile_json() -> str:
    """Give this machine's profile as text, for `security-opt seccomp=..`."""
    return json.dumps(profile(platform.machine()), separators=(",", ":"))


def _closer_looks() -> dict[str, list[Rule]]:
    families = [family for family in range(HIGHEST_FAMILY) if family not in bpf.FAMILIES]
    pair_families = [family for family in range(HIGHEST_FAMILY) if family != bpf.FAMILIES[0]]
    return {
        "clone": [_allow("clone", _masked(0, bpf.NEW_NAMESPACES & ~0x80, 0))],
        "socket": [*_sockets(), *_no_family("socket", families)],
        "socketpair": [*_values("socketpair", bpf.FAMILIES[:1]), *_no_family("socketpair", pair_families)],
        "fcntl": [_allow("fcntl", _masked(1, mask, value)) for mask, value in all_but(bpf.TELLING_OF_OTHERS)],
        "ioctl": [_allow("ioctl", _masked(1, mask, value)) for mask, value in all_but(bpf.TERMINAL_INJECTION)],
        "personality": _values("personality", bpf.PERSONALITIES),
    }


def all_but(values: Sequence[int], bits: int = 32) -> Iterator[tuple[int, int]]:
    """(mask, value) pairs that together match every number of `bits` bits but `values`.

    Bits above are not looked at.
    """
    pending = [(0, 0, bits, tuple(values))]
    while pending:
        mask, value, left, excluded = pending.pop()
        if not excluded:
            yield mask, value
        elif left > 0:
            bit = 1 << (left - 1)
            for side in (0, bit):
                inside = tuple(item for item in excluded if item & bit == side)
                pending.append((mask | bit, value | side, left - 1, inside))


def _values(name: str, values: Sequence[int]) -> list[Rule]:
    return [_allow(name, {"index": 0, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}) for value in values]


def _sockets() -> list[Rule]:
    """Each allowed family with each allowed protocol."""
    pairs = [(family, protocol) for family in bpf.FAMILIES for protocol in bpf.PROTOCOLS]
    families = [{"index": 0, "value": family, "valueTwo": 0, "op": "SCMP_CMP_EQ"} for family, _protocol in pairs]
    protocols = [_masked(2, LOW_HALF, protocol) for _family, protocol in pairs]
    return [{**_allow("socket", item), "args": [item, other]} for item, other in zip(families, protocols, strict=True)]


def _no_family(name: str, families: Sequence[int]) -> list[Rule]:
    one_by_one = [{**_deny((name,), errno.EAFNOSUPPORT), "args": [_masked(0, LOW_HALF, family)]} for family in families]
    beyond = {"index": 0, "value": HIGHEST_FAMILY - 1, "valueTwo": 0, "op": "SCMP_CMP_GT"}
    return [*one_by_one, {**_deny((name,), errno.EAFNOSUPPORT), "args": [beyond]}]


def _allow(name: str, argument: Rule) -> Rule:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}


def _deny(names: tuple[str, ...], number: int) -> Rule:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": []}


def _masked(index: int, mask: int, value: int) -> Rule:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


if __name__ == "__main__":
    sys.stdout.write(profile_json() + "\n")  # for the daemon's --seccomp-profile
