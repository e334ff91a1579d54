"""The sentences that say which limit ended a run."""

from mecapy_platform.sandbox.base import Limits


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
