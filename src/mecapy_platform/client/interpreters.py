"""A Python on this machine that matches what a package asks for."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
ASK_SECONDS = 10.0


@dataclass(frozen=True)
class Interpreter:
    """A program, its version as `3.12`, and whether that is what was asked for."""

    program: Path
    version: str
    is_match: bool


def find_interpreter(version: str | None, package: Path) -> Interpreter:
    """The package's or the active virtual environment, then this interpreter, then one on PATH.

    Else this one all the same.
    """
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for program in _candidates(version, package):
        found = own if program == Path(sys.executable) else _version_of(program)
        if found is not None and version in {None, found}:
            return Interpreter(program, found, is_match=True)
    return Interpreter(Path(sys.executable), own, is_match=False)


def _candidates(version: str | None, package: Path) -> Iterator[Path]:
    for environment in (str(package / ".venv"), os.environ.get("VIRTUAL_ENV")):
        if environment:
            program = Path(environment, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
            if program.is_file():
                yield program.absolute()
    yield Path(sys.executable)
    named = shutil.which(f"python{version}") if version else None
    if named:
        yield Path(named)
    if os.name == "nt" and version and (launcher := shutil.which("py")):
        found = _ask([launcher, f"-{version}", "-c", "import sys; print(sys.executable)"])
        if found:
            yield Path(found)


def _version_of(program: Path) -> str | None:
    return _ask([str(program), "-I", "-c", ASK_VERSION])


def _ask(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=ASK_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
