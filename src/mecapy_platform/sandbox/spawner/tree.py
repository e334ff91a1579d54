"""A process tree as /proc shows it.

Its children, its memory for machines where no control group can be made, and killing its top.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path


def tree_memory_bytes(root: int) -> int:
    """Sum the proportional memory of `root` and its descendants (resident memory where the kernel will not say)."""
    memory, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children(pid)
        with suppress(OSError):
            memory += _memory_bytes(pid)
    return memory


def children(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def kill_below(root: int, levels: int) -> None:
    """SIGKILL to the descendants of `root`, so many generations of them at once.

    Nobody else is hit: a pid may have a new owner by now.
    """
    for pid in children(root):
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                if levels > 1:
                    kill_below(pid, levels - 1)
                if pid in children(root):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)


def _memory_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        pass
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
