"""Builds the small C library of warm sandboxes into the package.

Without a compiler, or not on Linux, its Python fallback is used.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

GUEST = Path("src/mecapy_platform/sandbox/guest")
FLAGS = (
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
)
LINKING = ("-Wl,-z,now,-z,relro,-z,noexecstack",)


class GuestLibrary(BuildHookInterface):  # type: ignore[type-arg]  # the plug-in's own parameter says nothing here
    """`_guest.so`: plain C without Python's headers, so one file serves every interpreter of a platform."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if sys.platform != "linux" or self.target_name != "wheel" or compiler is None:
            return
        folder = Path(self.root) / GUEST
        target = folder / "_guest.so"
        subprocess.run(
            [compiler, *FLAGS, *map(str, sorted((folder / "csource").glob("*.c"))), *LINKING, "-o", str(target)],
            check=True,
        )
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"
        build_data["artifacts"].append(f"/{GUEST}/_guest.so")
