"""The contract of a sandbox, each call in a warm slot; and what a warm sandbox alone must show."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration.sandbox_contract import PACKAGE, Bench, ConfinementContract, SandboxContract
from mecapy_platform.sandbox.base import NOTHING_SEEN, Run, SandboxSpec, Seen, SelfTest
from mecapy_platform.sandbox.bubblewrap import SPAWNER, BubblewrapSandbox, LocalSpawner
from mecapy_platform.sandbox.warm import WarmRun
from mecapy_platform.sandbox.warm_pool import WarmLimits


class WarmAlone:
    """A bubblewrap sandbox that never goes cold, but for what only a cold one does."""

    name = "bubblewrap"
    is_durable = False

    def __init__(self, address: Path | None = None) -> None:
        self.inner = BubblewrapSandbox(address, warm=WarmLimits(slots=8))

    def self_test(self) -> SelfTest:
        return self.inner.self_test()

    def start(self, spec: SandboxSpec) -> Run:
        spec = replace(spec, organization="first", is_warm=not spec.describe)
        if spec.is_warm:
            assert self.inner.warm is not None
            self.inner.warm.make_ready(spec, ())
        run = self.inner.start(spec)
        assert isinstance(run, WarmRun) == spec.is_warm
        return run

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        return self.inner.find(reference, seen)


@pytest.fixture(scope="module", params=["native", "fallback"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[WarmAlone]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    spawner = None
    if request.param == "fallback":
        source = SPAWNER.parents[1]
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        spawner = LocalSpawner.start(script=folder / source.name / "sandbox" / "spawner")
    made = WarmAlone(None if spawner is None else Path(spawner.address))
    yield made
    made.inner.close()
    if spawner is not None:
        spawner.stop()
    shutil.rmtree(folder)


@pytest.fixture
def bench(sandbox: WarmAlone) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(PACKAGE, folder / "package", ignore=shutil.ignore_patterns("__pycache__"))
    yield Bench(sandbox, folder, Path(sys.executable).resolve())
    shutil.rmtree(folder)


class TestWarm(SandboxContract, ConfinementContract):
    """Every case of the contract, with the small library and with its fallback."""

    def test_self_test_holds_for_warm_calls_too(self, bench: Bench) -> None:
        found = bench.sandbox.self_test()
        assert [check for check in found.checks if not check.holds] == []
        assert {"warm: no capabilities", "warm: memory limit", "warm: no network"} <= {check.name for check in found.checks}
