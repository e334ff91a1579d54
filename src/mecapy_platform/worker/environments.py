"""Installed requirements on this node, by digest of interpreter and lock: made once per node, read by every attempt."""

import hashlib
import logging
import shutil
import stat
import tempfile
from pathlib import Path

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.sandbox.base import Environment
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.interpreters import choose
from mecapy_platform.worker.packages import publish
from mecapy_platform.worker.vetted import vetted_libraries, vetted_lock

log = logging.getLogger(__name__)


def digest_of(interpreter: Interpreter, lock: str) -> str:
    return hashlib.sha256(f"{interpreter.version}\n{lock}".encode()).hexdigest()


def ensure_environment(
    context: WorkerContext, runtime: str, version: str | None, digest: str | None, lock: str | None
) -> Environment:
    """The environment of a built version.

    Another node than the builder's installs the lock again, to the same hashes.
    """
    minor = ".".join(version.split(".")[:2]) if version else runtime
    interpreter = choose(context.interpreters, minor, allow_newer=context.settings.allow_newer_python)
    if not lock or not digest:
        return Environment(interpreter.executable)
    target = context.cache_dir / "environments" / digest
    if not target.is_dir():
        install(context, interpreter, lock, target)
    vetted = ensure_vetted(context, interpreter, lock)
    libraries = () if vetted is None else vetted_libraries(lock)
    return Environment(interpreter.executable, target / "site-packages", vetted, libraries)


def ensure_vetted(context: WorkerContext, interpreter: Interpreter, lock: str) -> Path | None:
    """The folder of the lock's vetted libraries alone; None when it names none, or they cannot be had right now."""
    own = vetted_lock(lock)
    if not own:
        return None
    target = context.cache_dir / "vetted" / digest_of(interpreter, own)
    if not target.is_dir():
        try:
            install(context, interpreter, own, target)
        except MecapyError as error:
            log.warning("vetted libraries could not be installed, warm calls load them themselves: %s", error.message)
            return None
    return target / "site-packages"


def install(
    context: WorkerContext, interpreter: Interpreter, lock: str, target: Path, seconds: float | None = None
) -> None:
    """Install beside the target, then give it its name in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=target.parent))
    try:
        context.fetcher.install(lock, interpreter, staging, seconds)
        staging.chmod(0o755)
        for path in staging.rglob("*"):
            if not path.is_symlink():
                is_open = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if is_open else 0o644)
        publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
