from collections.abc import Iterator

import pytest

from integration.sandbox_contract import Bench, SandboxContract, bench_for, follow
from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox.base import EndReason, StopReason
from support.fakes import FakeSandbox, Misbehaviour


@pytest.fixture
def sandbox() -> FakeSandbox:
    return FakeSandbox()


@pytest.fixture
def bench(sandbox: FakeSandbox) -> Iterator[Bench]:
    with bench_for(sandbox) as made:
        yield made


class TestFake(SandboxContract):
    def test_it_hangs_until_killed(self, bench: Bench, sandbox: FakeSandbox) -> None:
        sandbox.misbehave = Misbehaviour.HANG
        with sandbox.start(bench.spec("double", {"value": 1}, grace_seconds=0.2)) as run:
            run.stop(StopReason.CANCELLED)
            assert follow(run).ended.reason is EndReason.STOPPED

    def test_it_dies(self, bench: Bench, sandbox: FakeSandbox) -> None:
        sandbox.misbehave = Misbehaviour.DIE
        assert bench.run("double", {"value": 1}).ended.reason is EndReason.MACHINE

    def test_it_lies(self, bench: Bench, sandbox: FakeSandbox) -> None:
        sandbox.misbehave = Misbehaviour.LIE
        outcome = bench.run("raises")
        assert outcome.ended.exit_code == 0
        assert outcome.collected.result == b"{not json"

    def test_it_refuses(self, bench: Bench, sandbox: FakeSandbox) -> None:
        sandbox.misbehave = Misbehaviour.REFUSE
        with pytest.raises(SandboxError):
            bench.run("double", {"value": 1})
        sandbox.misbehave = Misbehaviour.UNSAFE
        assert not sandbox.self_test().holds
