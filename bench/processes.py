"""What a tree of processes uses: proportional memory, and CPU seconds including children that have ended."""

import platform
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Used:
    processes: int
    pss_mib: float
    cpu_seconds: float


def used_by(pid: int) -> Used:
    """Sum over the process and all below it.

    PSS shares pages among those that map them, so the sum counts each page once.
    """
    root = psutil.Process(pid)
    count, pss, cpu = 0, 0.0, 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            pss += process.memory_full_info().pss / 2**20
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
        count += 1
    return Used(count, pss, cpu)


def machine() -> str:
    """The machine in one line, without its name."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {platform.release()}, Python "
        f"{platform.python_version()}"
    )
