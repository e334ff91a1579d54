"""What a worker has to give to tasks: of this machine, or of the machines behind its backend."""

import os
from dataclasses import dataclass

from mecapy_platform.sandbox.base import Pooled, Sandbox
from mecapy_platform.settings import Settings


@dataclass(frozen=True)
class Capacity:
    """CPU that may be reserved (cores times the over-commit) and memory in MiB (never over-committed)."""

    cpu: float
    memory_mb: int


def capacity_of(settings: Settings, sandbox: Sandbox) -> Capacity:
    """A pool says itself what it has; it is not over-committed."""
    if isinstance(sandbox, Pooled):
        pool = sandbox.capacity()
        return Capacity(pool.cpu, pool.memory_mb)
    cores = settings.worker_cpu or os.cpu_count() or 1
    physical_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return Capacity(cores * settings.cpu_overcommit, settings.worker_memory_mb or physical_mb * 3 // 4)
