"""One place says which limit ended a run; guests and the spawner report numbers."""

import re
from pathlib import Path
from typing import Any

import pytest

from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox import endings
from mecapy_platform.sandbox.base import EndReason, Limits, StopReason

LIMITS = Limits(
    cpu=1, memory_mb=256, timeout_seconds=1.5, disk_bytes=4 << 20, disk_files=100, processes=20, log_bytes=1000
)
REPORT = {"exit_code": 1, "signal": None, "wall_seconds": 2.0, "cpu_seconds": 1.0, "peak_bytes": 3 << 20}
SANDBOX = Path(endings.__file__).parent


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"reason": "exited"}, ""),
        ({"reason": "stopped"}, ""),
        ({"reason": "timeout"}, "time limit of 1.5 s reached"),
        (
            {"reason": "out_of_memory"},
            "memory limit of 256 MiB reached (3 MiB used, files in out, scratch, /tmp and /dev/shm included)",
        ),
        ({"reason": "out_of_memory", "peak_bytes": 0}, "memory limit of 256 MiB reached"),
        (
            {"reason": "out_of_memory", "peak_bytes": None, "sampled_seconds": 0.1},
            "memory limit of 256 MiB reached (watched every 0.1 s, as no control group can be made here)",
        ),
        ({"reason": "disk_limit", "over": "bytes"}, "disk limit of 4 MiB reached"),
        ({"reason": "disk_limit", "over": "files", "place": "/tmp"}, "disk limit of 100 files reached in /tmp"),
        (
            {"reason": "disk_limit", "over": "files", "reached": 120},
            "disk limit of 100 files reached (120 in out, scratch, /tmp and /dev/shm together)",
        ),
        ({"reason": "process_limit", "refused": 3}, "process limit of 20 reached (3 more were refused)"),
        (
            {"reason": "process_limit", "refused": 0, "left": 19},
            "process limit of 20 reached (19 others were left when it failed)",
        ),
        (
            {"reason": "log_limit", "log_bytes": 2001},
            "log limit of 1000 bytes passed: more than 2001 bytes written, the run was ended",
        ),
        ({"reason": "machine"}, endings.NO_STATUS),
        ({"reason": "timeout", "detail": "as an older guest said it"}, "as an older guest said it"),
    ],
)
def test_a_report_of_numbers_becomes_its_sentence(said: dict[str, Any], words: str) -> None:
    ended = endings.read_end({**REPORT, **said}, LIMITS)
    assert (ended.reason, ended.detail) == (EndReason(said["reason"]), words)
    assert (ended.exit_code, ended.signal) == (1, None)


def test_usage_and_who_stopped_it_are_read() -> None:
    ended = endings.read_end({**REPORT, "reason": "stopped", "stop": "cancelled"}, LIMITS)
    assert (ended.usage, ended.stop) == (Usage(2.0, 1.0, 3.0), StopReason.CANCELLED)
    assert endings.read_end({**REPORT, "reason": "stopped"}, LIMITS, stop=StopReason.DRAIN).stop is StopReason.DRAIN
    assert endings.read_end({**REPORT, "reason": "timeout"}, LIMITS, stop=StopReason.DRAIN).stop is StopReason.TIMEOUT
    measured = Usage(9.0, None, None)
    assert endings.read_end({"reason": "machine"}, LIMITS, usage=measured).usage == measured


def test_nothing_else_of_the_sandbox_writes_such_a_sentence() -> None:
    said = re.compile(r"(time|memory|disk|process|log|output|result) limit of")
    sources = [path for pattern in ("*.py", "*.c", "*.h") for path in SANDBOX.rglob(pattern)]
    assert len(sources) > 50
    assert [path.name for path in sources if said.search(path.read_text("utf-8"))] == ["endings.py"]
