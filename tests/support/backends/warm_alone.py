"""A bubblewrap sandbox whose calls are all warm, with the steps in C and with their fallback in Python."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mecapy_platform.sandbox.base import NOTHING_SEEN, Run, SandboxSpec, Seen, SelfTest
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.local_spawner import SPAWNER, LocalSpawner
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits
from support.backends.warm_runs import is_warm

KINDS = ("native", "fallback")


class WarmAlone:
    """A bubblewrap sandbox that never goes cold, but for what only a cold one does."""

    name = "bubblewrap"
    is_durable = False

    def __init__(self, address: Path | None = None) -> None:
        self.inner = BubblewrapSandbox(address, warm=WarmLimits(slots=8))

    def self_test(self) -> SelfTest:
        return self.inner.self_test()

    def start(self, spec: SandboxSpec) -> Run:
        spec = replace(spec, organization="first", is_warm=spec.mode.is_call)
        if spec.is_warm:
            assert self.inner.warm is not None
            self.inner.warm.make_ready(spec, ())
        run = self.inner.start(spec)
        assert is_warm(run) == spec.is_warm
        return run

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        return self.inner.find(reference, seen)


@contextmanager
def warm_alone(kind: str) -> Iterator[WarmAlone]:
    """`fallback`: the guest is shown without its small library."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    spawner = None
    if kind == "fallback":
        source = SPAWNER.parents[1]
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        spawner = LocalSpawner.start(script=folder / source.name / "sandbox" / "spawner")
    made = WarmAlone(None if spawner is None else Path(spawner.address))
    yield made
    made.inner.close()
    if spawner is not None:
        spawner.stop()
    shutil.rmtree(folder)
