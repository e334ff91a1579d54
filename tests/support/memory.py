"""How much memory a piece of code takes at most, counted by the kernel while the code runs at its own speed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = """
import gc
from pathlib import Path

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) << 10

{prepare}
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the peak is what is used now
before = status("VmRSS")
{code}
print(status("VmHWM") - before)
"""


def peak_growth(prepare: str, code: str, *arguments: Path) -> int:
    """Bytes by which a fresh interpreter grows at most in `code`, after `prepare`; the arguments are in `sys.argv`."""
    command: Sequence[str] = [sys.executable, "-c", PROGRAM.format(prepare=prepare, code=code), *map(str, arguments)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
