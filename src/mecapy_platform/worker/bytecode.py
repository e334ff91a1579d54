"""Compiled modules of a package, made once per node and interpreter.

They are laid where Python looks for them beside the sources.

Without them each call would compile again what it imports. They are compiled in the sandbox, where nothing of the
package is run, and take the place of any that came with it.
"""

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.sandbox.base import Environment, Limits, Mode, Run, Sandbox, SandboxSpec

log = logging.getLogger(__name__)
LIMITS = Limits(cpu=1, memory_mb=1024, timeout_seconds=60, disk_bytes=256 << 20, output_bytes=200 << 20)
SUFFIX = ".pyc"


@dataclass(frozen=True)
class Compiler:
    """Where compiling is done, and where it is noted that it was."""

    sandbox: Sandbox
    notes: Path
    work_dir: Path


def ensure_bytecode(compiler: Compiler, package: Path, sha256: str, interpreter: Path) -> None:
    """Compile a package for an interpreter, unless that was done before on this node.

    Never stands in the way of a call.
    """
    done = compiler.notes / f"{sha256}-{interpreter.name}"
    if done.exists():
        return
    try:
        _compile(compiler, package, interpreter)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
    except (MecapyError, OSError) as error:
        log.warning("package %s is not compiled ahead: %s", sha256, error)


def _compile(compiler: Compiler, package: Path, interpreter: Path) -> None:
    directory = compiler.work_dir / f"bytecode-{uuid4()}"
    inputs = directory / "in"
    (inputs / "files").mkdir(parents=True)
    (inputs / "data.json").write_text("{}", "utf-8")
    for path in (directory, inputs, inputs / "files"):
        path.chmod(0o755)
    (inputs / "data.json").chmod(0o644)
    spec = SandboxSpec("bytecode", 1, package, inputs, LIMITS, Environment(interpreter), mode=Mode.BYTECODE)
    try:
        with compiler.sandbox.start(spec) as run:
            for _event in run.events():
                pass
            _keep(run, package)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _keep(run: Run, package: Path) -> None:
    """Each in one step, so that a call that starts meanwhile reads a whole module."""
    for file in run.collect().files:
        target = package / file.name
        folder = target.parent
        if (
            file.kind != "artifact"
            or target.suffix != SUFFIX
            or folder.name != "__pycache__"
            or not folder.parent.is_dir()
        ):
            continue
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        descriptor, staged = tempfile.mkstemp(dir=folder)
        with run.open_output(file) as source, os.fdopen(descriptor, "wb") as written:
            shutil.copyfileobj(source, written, 1 << 20)
        Path(staged).chmod(0o644)
        Path(staged).replace(target)
