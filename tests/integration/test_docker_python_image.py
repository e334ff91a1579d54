"""Our Python image, made from Debian's packages by the command that `make images` runs.

A base for Dockerfiles, with a recorded id.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.sandbox_contract import LIMITS, follow
from mecapy_platform.sandbox.base import SandboxSpec
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.images import BuildOrder
from support.backends.docker_daemon import TestDaemon, daemon
from support.backends.docker_images import FOR_TESTS

DEPLOY = Path(__file__).parents[2] / "deploy" / "docker"
PROGRAM = """
import json, ctypes, multiprocessing
data = json.load(open("/workspace/in/data.json"))
json.dump({"stress": data["load"] / 2}, open("/workspace/out/data.json", "w"))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    if shutil.which("mmdebstrap") is None:
        if os.environ.get("MECAPY_REQUIRE_SERVICES") == "1":
            pytest.fail("needs mmdebstrap (deploy/ci/install-debian.sh)")
        pytest.skip("needs mmdebstrap")
    with daemon(has_profile=True) as started:
        yield started


def test_a_dockerfile_upon_our_python_image_runs_and_the_image_is_the_recorded_one(
    engine: TestDaemon, tmp_path: Path
) -> None:
    command = [sys.executable, str(DEPLOY / "build.py"), "--host", engine.address]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280).stdout
    made = {line.split()[0]: line.split()[1] for line in said.splitlines()}
    recorded = json.loads((DEPLOY / "digests.json").read_text())
    assert made["mecapy/root"] == recorded["mecapy/root"]["id"]
    if (
        made["mecapy/python"] != recorded["mecapy/python"]["id"]
    ):  # Debian's packages have moved on: that is said, never silent
        assert f"(recorded: {recorded['mecapy/python']['id']})" in said
    sandbox = DockerSandbox(DockerOptions(tmp_path / "runs", engine.address, images=FOR_TESTS))
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(
        "FROM mecapy/python\nCOPY size.py /opt/size.py\nRUN python3 -m py_compile /opt/size.py\n"
    )
    (tmp_path / "context" / "size.py").write_text(PROGRAM)
    order = BuildOrder(
        tmp_path / "context", "Dockerfile", "org", {}, has_network=False, seconds=100, image_bytes=1 << 30
    )
    image = sandbox.images.build(order, print)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.json").write_text('{"load": 3}')
    spec = SandboxSpec(
        "task",
        1,
        tmp_path,
        tmp_path / "in",
        LIMITS,
        entrypoint=("python3", "/opt/size.py"),
        image=image,
        organization="org",
    )
    with sandbox.start(spec) as run:
        assert follow(run).result == {"stress": 1.5}
    sandbox.close()
