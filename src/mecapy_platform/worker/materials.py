"""Makes ready on disk what an attempt reads: its package, its environment, its inputs. Packages and environments are kept by digest."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.sandbox.base import Environment
from mecapy_platform.services.claims import Claim
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.environments import ensure_environment
from mecapy_platform.worker.packages import ensure_package


@dataclass(frozen=True)
class Materials:
    package: Path
    environment: Environment
    inputs: Path
    directory: Path
    is_kept: bool = False  # a run that outlives this process still reads it; the adopter removes it

    def remove(self) -> None:
        if not self.is_kept:
            shutil.rmtree(self.directory, ignore_errors=True)


def kept_directory(context: WorkerContext) -> Path:
    """Where inputs of durable runs lie, one folder for each attempt, whichever process made it."""
    return context.work_dir.parent / "kept"


def prepare(context: WorkerContext, claim: Claim) -> Materials:
    """Everything below a directory of the attempt's own, world-readable, as another user reads it."""
    package = ensure_package(context, claim.archive_key, claim.archive_sha256)
    environment = ensure_environment(context, claim.runtime, claim.interpreter, claim.environment_digest, claim.requirements_lock)
    is_kept = context.sandbox_for(claim).is_durable
    directory = kept_directory(context) / f"{claim.task_id}.{claim.number}" if is_kept else context.work_dir / str(claim.token)
    inputs = directory / "in"
    (inputs / "files").mkdir(parents=True)
    (inputs / "data.json").write_text(json.dumps(claim.inputs), "utf-8")
    for port, file in claim.files.items():
        extension = f".{file['extension']}" if file["extension"] else ""
        with context.storage.open(file["key"]) as source, (inputs / "files" / f"{port}{extension}").open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    for path in (directory, inputs, inputs / "files"):
        path.chmod(0o755)
    for path in inputs.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return Materials(package, environment, inputs, directory, is_kept)
