"""Memory of a process tree by looking, for machines where no control group can be made."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    memory_bytes: int
    processes: int


def sample_tree(root: int) -> Sample:
    """Sum the proportional memory of `root`'s descendants (resident memory where the kernel will not say)."""
    memory, count, waiting = 0, 0, [root]
    while waiting:
        pid = waiting.pop()
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
            memory += _memory_bytes(pid)
            count += 1
    return Sample(memory, count)


def _memory_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        pass
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
