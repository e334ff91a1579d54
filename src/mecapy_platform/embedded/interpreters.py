"""The Python interpreters 3.10 to 3.13 of this machine: ours, pyenv's, uv's, those on PATH.

Asked only for their version.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
FOUND_VARIABLE = "MECAPY_PYTHONS"  # the launcher's finds, for children whose HOME is another
QUESTION = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.base_prefix, sys.implementation.name, sep='\\n')"


@dataclass(frozen=True)
class Interpreter:
    """`version` is the full one; `executable` and `prefix` are real paths."""

    version: str
    executable: Path
    prefix: Path

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def find(environment: Mapping[str, str] | None = None) -> dict[str, Interpreter]:
    """The first working interpreter of each minor version."""
    known = os.environ if environment is None else environment
    found: dict[str, Interpreter] = {}
    ours = _ask(Path(sys.base_prefix, "bin", f"python3.{sys.version_info[1]}"))
    if ours is not None and ours.minor in VERSIONS:
        found[ours.minor] = ours
    for minor in VERSIONS:
        for path in _candidates(minor, known):
            if minor not in found and path.is_file() and (answer := _ask(path)) is not None and answer.minor == minor:
                found[minor] = answer
    return dict(sorted(found.items(), key=lambda item: VERSIONS.index(item[0])))


def _candidates(minor: str, environment: Mapping[str, str]) -> Iterator[Path]:
    yield from (
        Path(path) for path in environment.get(FOUND_VARIABLE, "").split(os.pathsep) if path.endswith(f"python{minor}")
    )
    home = Path(environment.get("HOME", "/nonexistent"))
    pyenv = Path(environment.get("PYENV_ROOT", home / ".pyenv"))
    uv = Path(environment.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python"))
    folders = [
        *sorted(pyenv.glob(f"versions/{minor}.*"), key=_patch, reverse=True),
        *sorted(uv.glob(f"cpython-{minor}.*"), key=_patch, reverse=True),
    ]
    yield from (folder / "bin" / f"python{minor}" for folder in folders)
    for folder in environment.get("PATH", "").split(os.pathsep):
        if folder and not folder.endswith("shims"):
            yield Path(folder, f"python{minor}")


def _patch(folder: Path) -> int:
    match = re.search(r"\d+\.\d+\.(\d+)$", folder.name.split("-linux")[0])
    return int(match[1]) if match else -1


def _ask(executable: Path) -> Interpreter | None:
    try:
        answer = subprocess.run(
            [executable, "-I", "-S", "-c", QUESTION], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match answer.splitlines():
        case [version, prefix, "cpython"]:
            return Interpreter(version, executable.resolve(), Path(prefix))
    return None
