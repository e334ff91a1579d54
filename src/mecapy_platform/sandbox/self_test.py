"""The self-test of a confinement: guest/self_test_handler.py is run for real, and what it could do is judged here."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.sandbox.base import (
    Check,
    EndReason,
    Environment,
    Limits,
    LogChunk,
    Run,
    Sandbox,
    SandboxSpec,
    SelfTest,
)

HERE = Path(__file__).parent
LIMITS = Limits(
    cpu=1, memory_mb=96, timeout_seconds=30, disk_bytes=8 << 20, disk_files=200, processes=24, grace_seconds=1
)
NO_CAPABILITIES = "0000000000000000"


def run_self_test(sandbox: Sandbox) -> SelfTest:
    """Start two sandboxes; every failure to start is the first check's detail."""
    try:
        facts, messages = _look(sandbox)
        if facts is None:
            return SelfTest(
                (Check("starts", holds=False, detail=f"The probe ended without an answer. {messages[-1500:]}".strip()),)
            )
        return SelfTest((Check("starts", holds=True), *judge(facts), _memory(sandbox)))
    except MecapyError as error:
        return SelfTest((Check("starts", holds=False, detail=error.message),))


def judge(facts: Mapping[str, Any]) -> Sequence[Check]:
    """Pure: what the probe reported -> checks."""
    status = facts["status"]
    capabilities = [status[name] for name in ("CapEff", "CapPrm", "CapBnd")]
    return (
        Check("not root", facts["uid"] != 0, f"uid {facts['uid']} inside"),
        _empty("no capabilities", [value for value in capabilities if value != NO_CAPABILITIES], "still held"),
        Check("no new privileges", status["NoNewPrivs"] == "1", f"NoNewPrivs {status['NoNewPrivs']}"),
        Check("system call filter", status["Seccomp"] == "2", f"Seccomp mode {status['Seccomp']}"),
        _empty("no other processes", facts["processes"], "seen"),
        _empty(
            "no network",
            [name for name in facts["interfaces"] if name != "lo"] + facts["routes"] + [""] * facts["connects"],
            "found",
        ),
        _empty("host files hidden", facts["readable"], "readable"),
        _empty("root file system read-only", facts["writable"], "writable"),
        _empty("no new namespaces", facts["namespaces"], "made"),
        _empty("no foreign socket families", facts["families"], "opened"),
        Check(
            "disk limit in bytes", facts["written_mb"] <= LIMITS.disk_bytes >> 20, f"{facts['written_mb']} MiB written"
        ),
        Check("disk limit in files", facts["files"] <= LIMITS.disk_files, f"{facts['files']} files made"),
        Check("process limit", facts["forks"] <= LIMITS.processes, f"{facts['forks']} processes made"),
    )


def _empty(name: str, found: Sequence[object], word: str) -> Check:
    return Check(name, not found, f"{word}: {', '.join(map(str, found))}" if found else "")


def _memory(sandbox: Sandbox) -> Check:
    with sandbox.start(_spec("take_memory", "memory")) as run:
        for _event in run.events():
            pass
        ended = run.ended()
    return Check(
        "memory limit", ended.reason is EndReason.OUT_OF_MEMORY, ended.detail or f"the probe ended with {ended.reason}"
    )


def _look(sandbox: Sandbox) -> tuple[Mapping[str, Any] | None, str]:
    with sandbox.start(_spec("look", "look")) as run:
        messages = "".join(event.text for event in run.events() if isinstance(event, LogChunk))
        return _answer(run), f"{run.ended().detail} {messages}".strip()


def _answer(run: Run) -> Mapping[str, Any] | None:
    result = run.collect().result
    return None if result is None else json.loads(result)


def _spec(function: str, inputs: str) -> SandboxSpec:
    interpreter = Path(sys.executable).resolve()
    return SandboxSpec(
        "self-test",
        1,
        HERE / "guest",
        HERE / "probe_inputs" / inputs,
        LIMITS,
        Environment(interpreter),
        f"self_test_handler:{function}",
    )
