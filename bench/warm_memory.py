"""What a warm sandbox costs in memory: NumPy loaded, a worker waiting in each of two slots.

Proportional set size of its processes.

`make bench` measures it beside a running platform, as it lives: the interpreter and the C libraries are shared with
that. Alone it costs about 6 MiB more.
"""

import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from mecapy_platform.sandbox.base import Environment, Limits, SandboxSpec
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits

TARGET_MIB = 40
SHARES_MEMORY = "mecapy-init"  # with its slot, which is counted


def report(say: Callable[[str], None]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mecapy-bench-"))
    folder.chmod(0o755)
    sandbox = BubblewrapSandbox(warm=WarmLimits(slots=2))
    try:
        say(_line(_measure(sandbox, folder)))
    finally:
        sandbox.close()
        shutil.rmtree(folder)


def _line(mib: float) -> str:
    verdict = "met" if mib <= TARGET_MIB else "missed"
    return f"{'warm sandbox with NumPy and two slots: PSS':<44} {mib:6.1f} MiB   target <= {TARGET_MIB}: {verdict}"


def _measure(sandbox: BubblewrapSandbox, folder: Path) -> float:
    package = folder / "package"
    (package).mkdir()
    (package / "sums.py").write_text("import numpy\n\n\ndef total(values):\n    return float(numpy.sum(values))\n")
    (folder / "in" / "files").mkdir(parents=True)
    (folder / "in" / "data.json").write_text('{"values": [1, 2]}')
    site = Path(sysconfig.get_paths()["purelib"])
    environment = Environment(Path(sys.executable).resolve(), site, site, ("numpy",))
    limits = Limits(cpu=1, memory_mb=512, timeout_seconds=30, disk_bytes=64 << 20)
    spec = SandboxSpec(
        "memory", 1, package, folder / "in", limits, environment, "sums:total", organization="bench", is_warm=True
    )
    assert sandbox.warm is not None
    sandbox.warm.make_ready(spec, ())
    runs = [sandbox.start(spec) for _ in range(2)]
    for run in runs:
        with run:
            for _event in run.events():
                pass
            if run.collect().result != b'{"result": 3.0}':
                raise RuntimeError(f"wrong answer: {run.ended()}")
    (zygote,) = sandbox.warm.held().values()
    threading.Event().wait(1)  # until a worker waits in each slot, with the function loaded
    keeper = psutil.Process(int(zygote.facts["keeper"]))
    counted = [process for process in (keeper, *keeper.children(recursive=True)) if process.name() != SHARES_MEMORY]
    return float(sum(process.memory_full_info().pss for process in counted)) / 2**20


if __name__ == "__main__":
    report(print)
