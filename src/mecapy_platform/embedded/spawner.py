"""How the process that starts sandboxes is itself started.

Before everything else, and alone in keeping root where root started us.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.programs import bwrap
from mecapy_platform.embedded.uids import Users
from mecapy_platform.sandbox.tools import TOOLS

SCRIPT = Path(__file__).resolve().parents[1] / "sandbox" / "spawner"


def command(layout: Layout, users: Users, interpreters: Sequence[Interpreter]) -> list[str]:
    """The command line: isolated, without site-packages, its orders in one JSON argument that holds no secret."""
    config: dict[str, object] = {
        "directory": str(layout.spawner_run),
        "bwrap": str(bwrap()),
        "owner_uid": users.service.uid,
        "roots": shown_roots(layout, interpreters),
        "name": layout.instance_name,
    }
    if users.slots:
        config |= {"slot_uid_base": users.slots[0], "slots": len(users.slots)}
    return [
        sys.executable,
        "-I",
        "-S",
        str(SCRIPT),
        "--socket",
        str(layout.spawner_socket),
        "--config",
        json.dumps(config),
    ]


def shown_roots(layout: Layout, interpreters: Sequence[Interpreter]) -> list[str]:
    """The folders below which a sandbox may be shown something."""
    roots = [
        layout.files,
        Path(sys.prefix),
        Path(sys.base_prefix),
        SCRIPT.parents[2],
        *(interpreter.prefix for interpreter in interpreters),
    ]
    roots += [Path(path) for tool in TOOLS if (path := shutil.which(tool)) is not None]
    return sorted({str(root) for root in roots})
