"""Makes ready on disk what an attempt reads: its package, its environment, its inputs.

Packages and environments are kept by digest.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.sandbox.base import Environment
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.values import fetch
from mecapy_platform.worker.bytecode import ensure_bytecode
from mecapy_platform.worker.checks.formulas import is_restricted, lay_guards
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.environments import ensure_environment
from mecapy_platform.worker.image_store import ensure_image
from mecapy_platform.worker.packages import ensure_package


@dataclass(frozen=True)
class Materials:
    """`directory` is the attempt's own; it is made when somebody needs the inputs in it."""

    package: Path
    environment: Environment | None  # None: an image brings its own
    directory: Path
    text: str | None  # of in/data.json; None: it lies there already
    is_kept: bool = False  # a run that outlives this process still reads it; the adopter removes it
    is_written: bool = False  # the directory is there already

    @property
    def inputs(self) -> Path:
        return self.directory / "in"

    @property
    def data(self) -> Path:
        return self.inputs / "data.json"

    def write(self) -> None:
        """Make the directory with in/data.json, readable for another user."""
        (self.inputs / "files").mkdir(parents=True)
        if self.text is not None:
            self.data.write_text(self.text, "utf-8")
            self.data.chmod(0o644)
        for path in (self.directory, self.inputs, self.inputs / "files"):
            path.chmod(0o755)

    def remove(self) -> None:
        if not self.is_kept:
            shutil.rmtree(self.directory, ignore_errors=True)


def kept_directory(context: WorkerContext) -> Path:
    """Where inputs of durable runs lie, one folder for each attempt, whichever process made it."""
    return context.work_dir.parent / "kept"


def find_at_hand(context: WorkerContext, claim: Claim) -> Materials | None:
    """What `prepare` would give, at once; None where something would have to be fetched, compiled or written."""
    is_fetched = claim.files or claim.inputs_key or is_restricted(claim.options)
    found = None if is_fetched else context.at_hand.find(claim)
    if found is None:
        return None
    return Materials(*found, context.work_dir / str(claim.token), json.dumps(claim.inputs))


def prepare(context: WorkerContext, claim: Claim) -> Materials:
    """The package and the environment, ready on this node, and the inputs.

    A directory of them only where files or a backend want one.
    """
    package = ensure_package(context, claim.archive_key, claim.archive_sha256)
    environment = None
    if claim.entrypoint:
        ensure_image(context, claim)
    else:
        environment = ensure_environment(
            context, claim.runtime, claim.interpreter, claim.environment_digest, claim.requirements_lock
        )
    if claim.handler and environment is not None:
        ensure_bytecode(context.compiler, package, claim.archive_sha256, environment.interpreter)
        context.at_hand.note(claim, package, environment)
    is_kept = context.sandbox_for(claim).is_durable
    directory = (
        kept_directory(context) / f"{claim.task_id}.{claim.number}" if is_kept else context.work_dir / str(claim.token)
    )
    is_written = bool(claim.files or claim.inputs_key) or is_kept or is_restricted(claim.options)
    text = None if claim.inputs_key else json.dumps(claim.inputs)
    materials = Materials(package, environment, directory, text, is_kept, is_written)
    try:
        _lay(context, claim, materials)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)  # nobody else knows of it
        raise
    return materials


def _lay(context: WorkerContext, claim: Claim, materials: Materials) -> None:
    if materials.is_written:
        materials.write()
    if claim.inputs_key:
        size_bytes, digest = claim.inputs_size_bytes or 0, claim.inputs_sha256 or ""
        fetch(context.storage, claim.inputs_key, size_bytes=size_bytes, digest=digest, path=materials.data)
        materials.data.chmod(0o644)
    for port, file in claim.files.items():
        extension = f".{file['extension']}" if file["extension"] else ""
        path = materials.inputs / "files" / f"{port}{extension}"
        with context.storage.open(file["key"]) as source, path.open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        path.chmod(0o644)
    if is_restricted(claim.options):
        lay_guards(materials.inputs)
