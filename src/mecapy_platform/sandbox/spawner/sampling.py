"""A process tree as /proc shows it: its children, and its memory for machines where no control group can be made."""

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


def _memory_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        pass
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
