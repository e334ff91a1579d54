import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.sandbox_contract import PACKAGE, Bench, ConfinementContract, SandboxContract
from mecapy_platform.sandbox.bubblewrap import BubblewrapSandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[BubblewrapSandbox]:
    made = BubblewrapSandbox()
    yield made
    made.close()


@pytest.fixture
def bench(sandbox: BubblewrapSandbox) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(PACKAGE, folder / "package")
    yield Bench(sandbox, folder, Path(sys.executable).resolve())
    shutil.rmtree(folder)


class TestBubblewrap(SandboxContract, ConfinementContract):
    pass
