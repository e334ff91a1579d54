"""Programs that a package may name in `needs`.

The ones that the sandbox knows how to show, and which of them this machine has.
"""

import os
import shutil

from mecapy_platform.core.errors import SandboxError

TOOLS = ("ccx",)


def installed_tools() -> list[str]:
    """Names out of TOOLS that are found on this machine; a node tells them in its heartbeat."""
    return [name for name in TOOLS if shutil.which(name) is not None]


def allow_root_tools(needs: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of the declared tools.

    Raises
    ------
    SandboxError
        A tool is unknown to us or not installed on this machine.
    """
    paths = []
    for need in needs:
        path = shutil.which(need) if need in TOOLS else None
        if path is None:
            raise SandboxError(
                "tool_missing",
                f"The package needs {need}, which is not on this worker. Known tools: {', '.join(TOOLS)}.",
            )
        paths.append(os.path.realpath(path))
    return tuple(paths)
