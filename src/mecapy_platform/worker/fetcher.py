"""Runs uv, confined: no network but the package index through the proxy, no file but its cache and its target.

Only wheels are used, so installing runs no code of others.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError, InvalidInputError, UnavailableError
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.worker import index_forward
from mecapy_platform.worker.fetch_process import FetchLimits, fetch
from mecapy_platform.worker.index_proxy import IndexProxy, index_hosts

SYSTEM_PATHS = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/bin",
    "/usr/bin",
    "/etc/ssl",
    "/usr/share/ca-certificates",
    "/etc/ld.so.cache",
)
FORWARD = Path(index_forward.__file__).resolve()


@dataclass(frozen=True)
class Fetcher:
    """uv with its cache, the index it may reach and the bwrap that confines it."""

    uv: Path
    bwrap: Path
    cache: Path
    index_url: str
    limits: FetchLimits
    forward: Path = FORWARD  # runs inside: from the sandbox's loopback to the proxy

    def lock(
        self, requirements: Sequence[str], interpreter: Interpreter, directory: Path, seconds: float | None = None
    ) -> str:
        """Resolve to exact versions with hashes: the text of a requirements file. `seconds`: less than usual."""
        (directory / "requirements.in").write_text("\n".join(requirements) + "\n", "utf-8")
        self._run(
            [
                *(
                    "pip",
                    "compile",
                    "requirements.in",
                    "--output-file",
                    "requirements.lock",
                    "--only-binary",
                    ":all:",
                    "--generate-hashes",
                ),
                *("--no-header", "--no-annotate", "--no-emit-index-url", "--python", str(interpreter.executable)),
            ],
            interpreter,
            directory,
            seconds,
        )
        return (directory / "requirements.lock").read_text("utf-8")

    def install(self, lock: str, interpreter: Interpreter, directory: Path, seconds: float | None = None) -> Path:
        """Install a lock into `directory`/site-packages."""
        (directory / "requirements.lock").write_text(lock, "utf-8")
        self._run(
            [
                *(
                    "pip",
                    "install",
                    "--target",
                    "site-packages",
                    "--requirements",
                    "requirements.lock",
                    "--only-binary",
                    ":all:",
                    "--no-deps",
                ),
                *(
                    "--require-hashes",
                    "--link-mode",
                    "copy",
                    "--compile-bytecode",
                    "--python",
                    str(interpreter.executable),
                ),
            ],
            interpreter,
            directory,
            seconds,
        )
        return directory / "site-packages"

    def _run(self, arguments: list[str], interpreter: Interpreter, directory: Path, seconds: float | None) -> None:
        hosts = index_hosts(self.index_url)
        seconds = self.limits.seconds if seconds is None else min(seconds, self.limits.seconds)
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="mecapy-index-") as folder:
            socket_path = Path(folder, "index")
            with IndexProxy(socket_path, hosts):
                done = fetch(
                    lambda filter_fd: self._command(arguments, interpreter, directory, socket_path, filter_fd),
                    (directory, self.cache),
                    replace(self.limits, seconds=seconds),
                )
        if done.exit_code != 0:
            if "error sending request" in done.said or "Failed to fetch" in done.said:
                raise UnavailableError("index_unreachable", f"The package index could not be read. {done.said}")
            raise InvalidInputError(
                "requirements_unsolvable", f"The requirements cannot be installed (only wheels are used). {done.said}"
            )

    def _command(
        self, arguments: list[str], interpreter: Interpreter, directory: Path, socket_path: Path, filter_fd: int
    ) -> list[str]:
        shown: list[str] = []
        seen = [
            *SYSTEM_PATHS,
            str(interpreter.prefix),
            str(interpreter.executable),
            str(self.uv),
            str(self.forward),
        ]
        for path in seen:
            shown += ["--ro-bind-try", path, path]
        certificates = os.environ.get("SSL_CERT_FILE")
        environment = {
            "HOME": "/build",
            "PATH": "/usr/bin:/bin",
            "UV_CACHE_DIR": "/cache",
            "UV_DEFAULT_INDEX": self.index_url,
            "UV_NO_CONFIG": "1",
        }
        environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "UV_HTTP_TIMEOUT": "60"}
        if certificates:
            shown += ["--ro-bind-try", certificates, certificates]
            environment["SSL_CERT_FILE"] = certificates
        variables = [part for name, value in environment.items() for part in ("--setenv", name, value)]
        return [
            *(
                str(self.bwrap),
                "--unshare-all",
                "--unshare-user",
                "--die-with-parent",
                "--new-session",
                "--cap-drop",
                "ALL",
                "--clearenv",
                "--seccomp",
                str(filter_fd),
            ),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108 - the sandbox's own
            *shown,  # after the empty /tmp, below which some of it may lie
            *(
                "--bind",
                str(directory),
                "/build",
                "--bind",
                str(self.cache),
                "/cache",
                "--ro-bind",
                str(socket_path),
                "/index",
            ),
            *("--chdir", "/build", *variables),
            *(str(interpreter.executable), "-I", str(self.forward), "/index", str(self.uv), *arguments),
        ]


def make_fetcher(cache: Path, index_url: str, limits: FetchLimits, bwrap: Path) -> Fetcher:
    found = shutil.which("uv") or _beside_python()
    if found is None:
        raise ConfigurationError("uv_missing", "uv is not installed; it comes with mecapy-platform[server].")
    return Fetcher(Path(found).resolve(), bwrap, cache, index_url, limits)


def _beside_python() -> str | None:
    candidate = Path(sys.executable).parent / "uv"
    return str(candidate) if candidate.is_file() else None
