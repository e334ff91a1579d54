from collections.abc import Iterator

import pytest

from integration.machine_contract import MachineContract
from integration.sandbox_contract import Bench, ConfinementContract, SandboxContract, bench_for
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
from support.backends.docker_daemon import TestDaemon, daemon


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    with daemon() as started:
        yield started


@pytest.fixture(scope="module")
def sandbox(engine: TestDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerSandbox]:
    made = DockerSandbox(DockerOptions(tmp_path_factory.mktemp("runs"), engine.address))
    yield made
    made.close()


@pytest.fixture
def bench(sandbox: DockerSandbox) -> Iterator[Bench]:
    with bench_for(sandbox) as made:
        yield made


class TestDocker(SandboxContract, ConfinementContract, MachineContract):
    """Through a daemon of the tests' own."""
