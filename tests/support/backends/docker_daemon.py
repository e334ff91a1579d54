"""A Docker daemon of the test run's own, by deploy/ci/dockerd.sh. Each process of xdist starts its own."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from mecapy_platform.sandbox.syscalls.docker_profile import profile_json
from support.platform.embedded_process import wait_for

SCRIPT = Path(__file__).parents[3] / "deploy" / "ci" / "dockerd.sh"


@dataclass(frozen=True)
class TestDaemon:
    __test__ = False

    address: str
    directory: Path
    options: str

    def stop(self) -> None:
        subprocess.run([SCRIPT, "stop", self.directory], check=True, capture_output=True, timeout=120)

    def start(self) -> None:
        environment = {**os.environ, "DOCKERD_OPTIONS": self.options}
        subprocess.run([SCRIPT, "start", self.directory], check=True, capture_output=True, timeout=120, env=environment)

    def kill(self) -> int:
        """At once, as when it crashes; its containers go on. Returns how many there were: one, or none."""
        if not self._pid_file.exists():
            return 0
        ended = [self.pid, *self._containerd()]
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._pid_file.unlink()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ended), "it died, and its containerd with it")
        return 1

    def _containerd(self) -> list[int]:
        file = self.directory / "exec" / "containerd" / "containerd.pid"
        return [int(file.read_text())] if file.exists() else []

    @property
    def _pid_file(self) -> Path:
        return self.directory / "pid"

    @property
    def pid(self) -> int:
        return int(self._pid_file.read_text())


@contextmanager
def daemon(*, has_profile: bool = False) -> Iterator[TestDaemon]:
    """Skips where there is none; with MECAPY_REQUIRE_SERVICES=1 that is a failure.

    `has_profile`: builds run under our filter.
    """
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        missing = "needs root and dockerd (deploy/ci/install-debian.sh)"
        if os.environ.get("MECAPY_REQUIRE_SERVICES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    directory = Path(tempfile.mkdtemp(prefix="mecapy-docker-"))
    (directory / "seccomp.json").write_text(profile_json())
    made = TestDaemon(
        f"unix://{directory}/docker.sock",
        directory,
        f"--seccomp-profile {directory}/seccomp.json" if has_profile else "",
    )
    try:
        made.start()
        yield made
    finally:
        made.stop()
