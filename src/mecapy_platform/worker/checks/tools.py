"""The scanner as a folder that a sandbox can be shown.

Bandit, RestrictedPython and our checks, copied once from this installation.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import mecapy_platform
from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.worker.packages import publish

DISTRIBUTIONS = {
    "bandit": "bandit",
    "stevedore": "stevedore",
    "PyYAML": "yaml",
    "rich": "rich",
    "RestrictedPython": "RestrictedPython",
}
OWN = ("__init__.py", "core/__init__.py", "core/errors.py", "core/checks", "scan")
SKIPPED = shutil.ignore_patterns("*.so", "tests", "*.pyi")
COMPILE_SECONDS = 120.0


def ensure_scanner(cache: Path, interpreter: Interpreter) -> Path:
    """A site-packages folder for the scan, compiled for this interpreter; made once for each state of our code."""
    target = cache / "scanners" / _digest(interpreter)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=target.parent))
    try:
        for name, module in DISTRIBUTIONS.items():
            _copy_library(name, module, staging)
        _copy_own(staging / "mecapy_platform")
        compiling = [str(interpreter.executable), "-I", "-m", "compileall", "-q", str(staging)]
        subprocess.run(compiling, check=False, timeout=COMPILE_SECONDS, capture_output=True, env={})
        for path in (staging, *staging.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def restricted_sources() -> tuple[Path, Path]:
    """The folder of RestrictedPython and our file with the guards, which runs beside the guest."""
    return _folder("RestrictedPython"), _own() / "scan" / "restricted.py"


def _own() -> Path:
    return Path(str(mecapy_platform.__file__)).parent


def _digest(interpreter: Interpreter) -> str:
    digest = hashlib.sha256(interpreter.version.encode())
    for name in DISTRIBUTIONS:
        digest.update(f"{name} {_installed(name).version}\n".encode())
    for part in OWN:
        path = _own() / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _copy_library(name: str, module: str, target: Path) -> None:
    """The module, and its dist-info: Bandit finds its plugins by it."""
    shutil.copytree(_folder(module), target / module, ignore=SKIPPED)
    about = _installed(name).locate_file("")
    for folder in Path(str(about)).glob(f"{name.replace('-', '_').lower()}-*.dist-info"):
        shutil.copytree(folder, target / folder.name)


def _copy_own(target: Path) -> None:
    for part in OWN:
        source = _own() / part
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / part)
        else:
            shutil.copy2(source, target / part)


def _folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "scanner_missing", f"{module} is not installed on this worker; it comes with mecapy-platform[server]."
        )
    return Path(spec.origin).parent


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise ConfigurationError(
            "scanner_missing", f"{name} is not installed on this worker; it comes with mecapy-platform[server]."
        ) from error
