"""Functions under RestrictedPython at run.

The guards are laid beside the inputs, read-only, and the guest runs the handler under them.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mecapy_platform.core.checks.modules import FORMULA
from mecapy_platform.sandbox.base import Mode
from mecapy_platform.worker.checks.tools import restricted_sources

SKIPPED = shutil.ignore_patterns("tests", "*.pyi")


def is_restricted(options: Mapping[str, Any]) -> bool:
    """Whether the manifest asks for it: `checks: {restricted_python: true}`."""
    return bool((options.get("checks") or {}).get("restricted_python"))


def mode_of(options: Mapping[str, Any]) -> Mode:
    """How a function with these options is called."""
    return Mode.RESTRICTED if is_restricted(options) else Mode.CALL


def lay_guards(inputs: Path) -> None:
    """Into `inputs`/policy, with the compiled files beside the sources.

    Compiling them anew would cost each call 0.1 s.
    """
    library, guards = restricted_sources()
    folder = inputs / "policy"
    shutil.copytree(library, folder / "RestrictedPython", ignore=SKIPPED)
    shutil.copy2(guards, folder / "mecapy_restricted.py")
    (folder / "allowed.json").write_text(json.dumps(FORMULA), "utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
