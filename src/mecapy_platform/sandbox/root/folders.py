"""What the root of a sandbox shows of the host, and the variables that go with it; the same for every backend."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

GUEST_FOLDER = Path(__file__).resolve().parents[1] / "guest"
LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/libexec/coreutils")
PYTHON_OPTIONS = ("-I", "-S", "-B", "-u", "-X", "frozen_modules=on")
TOP_LINKS = ("/lib", "/lib64", "/lib32", "/libx32")


def interpreter_parts(interpreter: str) -> list[str]:
    """The binary and the library folders below its prefix; what lies below /usr/lib is shown anyway."""
    binary = Path(interpreter)
    prefix = binary.parent.parent
    folders = [] if str(prefix) == "/usr" else [str(prefix / "lib")]
    return [str(binary), *(folder for folder in folders if Path(folder).is_dir())]


def children_mounts(interpreter: str) -> list[tuple[str, str]]:
    """What covers the folders in which an interpreter looks for installed packages; see guest/children.

    The handler's own process looks at none of them (`-S`). A folder that the host lacks cannot be covered, and need
    not be, unless it lies where the sandbox shows nothing of the host.
    """
    binary = Path(interpreter)
    prefix, name = binary.parent.parent, binary.name
    folders = [prefix / "lib" / name / "site-packages"]
    if str(prefix) == "/usr":
        folders += [Path(folder, "dist-packages") for folder in ("/usr/lib/python3", f"/usr/lib/{name}")]
        folders += [Path("/usr/lib64", name, "site-packages")]
    found = [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]
    if str(prefix) == "/usr":
        found += [Path("/usr/local/lib", name, kind) for kind in ("dist-packages", "site-packages")]
    return [(str(GUEST_FOLDER / "children"), str(folder)) for folder in found]


def call_environment(interpreter: str, tools: Sequence[str], asked: Mapping[str, str]) -> dict[str, str]:
    """All that a call sees of an environment."""
    search = dict.fromkeys(os.path.dirname(path) for path in (interpreter, *tools))  # noqa: PTH120 - joined as text
    fixed = {"PATH": ":".join(search), "HOME": "/workspace/scratch", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC"}  # noqa: S108 - inside
    return {**fixed, **asked}
