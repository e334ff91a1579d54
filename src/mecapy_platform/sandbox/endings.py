"""Every sentence about a limit, and the one reader of what guests and the spawner report of an end.

A report holds numbers and closed words, never sentences: `reason` (an EndReason), `exit_code`, `signal`,
`wall_seconds`, `cpu_seconds`, `peak_bytes`, and of the limit that was met

- `over` ("bytes" or "files"), `reached`, `place` for the disk,
- `refused` or `left` for processes, `log_bytes` for the log,
- `sampled_seconds` where memory was watched from time to time alone.

and of a machine's fault `short_of` ("memory") where the machine had run out of something.

Runs that began before this version may still report a `detail`, which is then taken as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mecapy_platform.core.states import Usage
from mecapy_platform.sandbox.base import Ended, EndReason, Limits, StopReason

WRITABLE = "out, scratch, /tmp and /dev/shm"
NO_STATUS = "the sandbox ended without a status; its messages are in the log"
MACHINE_SHORT_OF_MEMORY = (
    "the machine, or what it gives to the platform, ran out of memory and ended it, though it was below its own limit"
)
WATCHER_DIED = "the process that watches this sandbox died, and the sandbox with it"
SLOT_DIED = "the warm slot of this run died, and the run with it"
CONTAINER_GONE = "the container is gone: it was removed, or its machine was started again"
NOT_UNDERSTOOD = "the first process of the container did not say how it ended in a way that is understood"
MIB = 1 << 20


def read_end(
    said: Mapping[str, Any], limits: Limits, *, stop: StopReason | None = None, usage: Usage | None = None
) -> Ended:
    """The end that a report tells. `stop`: what we asked for; `usage`: where something else has measured it."""
    reason = EndReason(str(said["reason"]))
    code, signal, asked = said.get("exit_code"), said.get("signal"), said.get("stop")
    if reason is EndReason.TIMEOUT:
        stop = StopReason.TIMEOUT
    elif stop is None and asked in set(StopReason):
        stop = StopReason(asked)
    return Ended(
        reason,
        code if isinstance(code, int) else None,
        signal if isinstance(signal, int) else None,
        usage or _usage(said),
        stop,
        str(said.get("detail") or "") or sentence(reason, limits, said),
    )


def sentence(reason: EndReason, limits: Limits, said: Mapping[str, Any]) -> str:
    """Which limit, its value and what was reached; empty where no limit ended the run."""
    find = _SENTENCES.get(reason)
    return "" if find is None else find(limits, said)


def log_truncated(log_bytes: int) -> str:
    return f"[log limit of {log_bytes} bytes reached: what follows is not kept]\n"


def progress_cut(limits: Limits) -> str:
    return (
        f"[progress limit of {limits.progress_lines} lines or {limits.progress_bytes} bytes reached: what follows in "
        f"progress.jsonl is not kept]\n"
    )


def over_output_bytes(limits: Limits, reached: int) -> str:
    return f"output limit of {limits.output_bytes} bytes passed: {reached} bytes found in out/"


def over_output_files(limits: Limits, reached: int) -> str:
    return f"output limit of {limits.output_files} files passed: more than {reached - 1} found in out/"


def over_result_bytes(limits: Limits, reached: int) -> str:
    return (
        f"result limit of {limits.result_bytes} bytes passed: out/data.json has {reached} bytes; write a file "
        f"output instead"
    )


def _memory(limits: Limits, said: Mapping[str, Any]) -> str:
    parts = []
    if peak := _number(said, "peak_bytes"):
        parts.append(f"{peak / MIB:.0f} MiB used, files in {WRITABLE} included")
    if said.get("sampled_seconds"):
        parts.append(f"watched every {float(said['sampled_seconds']):g} s, as no control group can be made here")
    known = f" ({'; '.join(parts)})" if parts else ""
    return f"memory limit of {limits.memory_mb} MiB reached{known}"


def _time(limits: Limits, _said: Mapping[str, Any]) -> str:
    return f"time limit of {limits.timeout_seconds:g} s reached"


def _processes(limits: Limits, said: Mapping[str, Any]) -> str:
    refused, left = _number(said, "refused"), _number(said, "left")
    how = f"{refused} more were refused" if refused else f"{left} others were left when it failed"
    return f"process limit of {limits.processes} reached ({how})"


def _log(limits: Limits, said: Mapping[str, Any]) -> str:
    written = _number(said, "log_bytes")
    return f"log limit of {limits.log_bytes} bytes passed: more than {written} bytes written, the run was ended"


def _disk(limits: Limits, said: Mapping[str, Any]) -> str:
    is_files = said.get("over") == "files"
    limit = f"{limits.disk_files} files" if is_files else f"{limits.disk_bytes >> 20} MiB"
    reached = _number(said, "reached")
    if reached:
        amount = f"{reached}" if is_files else f"{reached >> 20} MiB"
        return f"disk limit of {limit} reached ({amount} in {WRITABLE} together)"
    place = f" in {said['place']}" if said.get("place") else ""
    return f"disk limit of {limit} reached{place}"


def _usage(said: Mapping[str, Any]) -> Usage:
    cpu, peak = said.get("cpu_seconds"), said.get("peak_bytes")
    return Usage(
        float(said["wall_seconds"]),
        None if cpu is None else float(cpu),
        None if peak is None else float(peak) / MIB,
    )


def _number(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    return int(value) if isinstance(value, int | float) else 0


_SENTENCES: dict[EndReason, Callable[[Limits, Mapping[str, Any]], str]] = {
    EndReason.TIMEOUT: _time,
    EndReason.OUT_OF_MEMORY: _memory,
    EndReason.DISK_LIMIT: _disk,
    EndReason.PROCESS_LIMIT: _processes,
    EndReason.LOG_LIMIT: _log,
    EndReason.MACHINE: lambda _limits, said: MACHINE_SHORT_OF_MEMORY if said.get("short_of") == "memory" else NO_STATUS,
}
