"""Name of a backend -> backend."""

from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.sandbox.base import Sandbox
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.sandbox.bubblewrap.zygote_pool import WarmLimits
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.options import DockerOptions


def make_sandbox(
    name: str, *, socket: Path | None = None, warm: WarmLimits | None = None, docker: DockerOptions | None = None
) -> Sandbox:
    """Make the backend that the settings name.

    `socket`: of the platform's spawner, None to start one here when needed. `warm`: how many warm sandboxes to keep,
    None for none.
    """
    if name == BubblewrapSandbox.name:
        return BubblewrapSandbox(socket, warm)
    if name == DockerSandbox.name:
        return DockerSandbox(docker or DockerOptions())
    known = f"{BubblewrapSandbox.name}, {DockerSandbox.name}"
    raise ConfigurationError("unknown_sandbox", f"There is no sandbox backend {name!r}. Known: {known}.")
