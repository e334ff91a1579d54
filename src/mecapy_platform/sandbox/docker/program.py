"""Which interpreter and which libraries of the node a container is shown.

In mode A as its own, in modes B and C beside the image's.
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox.base import SandboxSpec
from mecapy_platform.sandbox.docker.container_config import (
    EMPTY,
    GUEST,
    PYTHON_FLAGS,
    SCRATCH,
    ContainerProgram,
    search_path,
)
from mecapy_platform.sandbox.root.etc import MEMORY_FILE
from mecapy_platform.sandbox.root.folders import LIBRARY_FOLDERS, TOP_LINKS, children_mounts, interpreter_parts
from mecapy_platform.sandbox.tools import allow_root_tools

GUEST_FOLDER = Path(__file__).parents[1] / "guest"
OWN = "/mecapy"  # below it lies what is ours in modes B and C
PRELOADED = "/etc/ld.so.preload"
ZONES = "/usr/share/zoneinfo"
LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}

Mounts = tuple[tuple[str, str], ...]


def managed_program(spec: SandboxSpec, folder: Path, etc: Path, image: str) -> ContainerProgram:
    """Mode A: an empty root, with the interpreter that the environment was built for at its own path."""
    assert spec.environment is not None
    interpreter = os.path.realpath(spec.environment.interpreter)
    tools = allow_root_tools(spec.needs)
    mounts: list[tuple[str, str]] = [(path, path) for path in _library_folders()]
    mounts += [(path, path) for path in (*interpreter_parts(interpreter), *tools)]
    mounts += children_mounts(interpreter)
    mounts += [(str(etc / name), f"/etc/{name}") for name in ("ld.so.cache", "alternatives")]
    mounts.append((str(etc / "covers" / MEMORY_FILE), f"/proc/{MEMORY_FILE}"))
    mounts += [(str(folder / "passwd"), "/etc/passwd"), (str(spec.package), "/package")]
    if spec.environment.site_packages is not None:
        mounts.append((str(spec.environment.site_packages), "/site-packages"))
    environment = {"PATH": search_path((interpreter, *tools))}
    return ContainerProgram(image, (interpreter, *PYTHON_FLAGS), (*mounts, *_every_run(spec, folder)), environment)


def image_program(spec: SandboxSpec, folder: Path, image: Mapping[str, Any]) -> ContainerProgram:
    """Modes B and C: the image as it is, and our init with an interpreter of the node in a corner of its own.

    The image may lack a shell, a C library and Python: the loader is called by name, and finds libraries only where we
    say. Whatever the image has below our corner is covered, as Python would look there for modules and for its
    configuration; so is its list of libraries that a loader takes into every process.
    """
    assert spec.image is not None
    config = image.get("Config") or {}
    if config.get("Volumes"):
        names = ", ".join(sorted(config["Volumes"]))
        raise SandboxError(
            "image_has_volumes", f"The image declares volumes ({names}), which nothing limits; build it without VOLUME."
        )
    declared = dict(word.partition("=")[::2] for word in config.get("Env") or ())
    interpreter = os.path.realpath(sys.executable)
    mounts, argv = _own_interpreter(interpreter)
    return ContainerProgram(
        image=str(image["Id"]),
        argv=argv,
        mounts=(*mounts, *_every_run(spec, folder), (str(folder / EMPTY), PRELOADED)),
        environment=declared,
        covered=(OWN,),
        cleared=tuple(name for name in declared if name not in {"LANG", "PATH"}),
        folder=config.get("WorkingDir") or SCRATCH,
    )


def _every_run(spec: SandboxSpec, folder: Path) -> Mounts:
    return ((str(GUEST_FOLDER), GUEST), (str(folder / "port"), "/mecapy/port"), (str(spec.inputs), "/workspace/in"))


def _library_folders() -> list[str]:
    found = [folder for folder in LIBRARY_FOLDERS if Path(folder).is_dir() and not Path(folder).is_symlink()]
    found += [link for link in TOP_LINKS if Path(link).is_dir() and not Path(link).is_symlink()]
    return [*found, *([ZONES] if Path(ZONES).is_dir() else [])]


def _own_interpreter(interpreter: str) -> tuple[Mounts, tuple[str, ...]]:
    """The interpreter below /mecapy, started by its own loader, whatever lies at the usual places of the image."""
    loader = os.path.realpath(LOADERS[platform.machine()])
    prefix = str(Path(interpreter).parent.parent)
    home = f"{OWN}/usr" if prefix == "/usr" else f"{OWN}/python"
    mounts = [(folder, f"{OWN}{folder}") for folder in ("/usr/lib", "/usr/lib64") if Path(folder).is_dir()]
    mounts.append((interpreter, f"{home}/bin/{Path(interpreter).name}"))
    if prefix != "/usr":
        mounts.append((f"{prefix}/lib", f"{home}/lib"))
    folders = [f"{OWN}{os.path.dirname(loader)}", f"{OWN}/usr/lib", f"{home}/lib"]  # noqa: PTH120 - joined as text
    argv = (
        f"{OWN}{loader}",
        "--inhibit-cache",  # the image's list of libraries
        "--library-path",
        ":".join(folders),
        f"{home}/bin/{Path(interpreter).name}",
        *PYTHON_FLAGS,
    )
    return tuple(mounts), argv
