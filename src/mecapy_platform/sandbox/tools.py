"""Programs that a package may name in `needs`.

The ones that the sandbox knows how to show, and which of them this machine has.
"""

import shutil

TOOLS = ("ccx",)


def installed_tools() -> list[str]:
    """Names out of TOOLS that are found on this machine; a node tells them in its heartbeat."""
    return [name for name in TOOLS if shutil.which(name) is not None]
