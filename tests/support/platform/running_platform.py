"""A whole platform (`mecapy up`) of a test's own, in a directory of its own, and a plain HTTP client for it."""

import io
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from support.platform.embedded_process import Started

MECAPY = str(Path(sys.executable).with_name("mecapy"))


@dataclass
class Running:
    """A platform that answers. `parts` are the pids by name, as of the last look at the ready file."""

    started: Started
    data: Path

    @property
    def ready(self) -> dict[str, Any]:
        return self.started.ready()

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def parts(self) -> dict[str, list[int]]:
        return dict(self.ready["parts"])

    def token(self, user: str, organization: str, *, role: str | None = None) -> str:
        options = ["--role", role] if role else []
        command = [MECAPY, "token", "--data", str(self.data), "--user", user, "--organization", organization, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def client(self, token: str | None = None, organization: str | None = None) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {token or self.ready['token']}"}
        if organization:
            headers["MecaPy-Organization"] = organization
        return httpx2.Client(base_url=self.url, headers=headers, timeout=120)


@contextmanager
def platform(
    settings: Mapping[str, str] | None = None, *, data: Path | None = None, lack: str | None = None
) -> Iterator[Running]:
    """`mecapy up` with these MECAPY_* variables; ended and removed afterwards, whatever the test did.

    `lack`: see degraded_machine.py.
    """
    folder = Path(tempfile.mkdtemp(prefix="mecapy-e2e-"))
    folder.chmod(0o755)
    home = data or folder / "data"
    started = launch(home, folder / "ready.json", settings, lack=lack)
    try:
        started.ready()
        yield Running(started, home)
    finally:
        started.finish()
        shutil.rmtree(folder, ignore_errors=True)


def launch(
    data: Path, ready_file: Path, settings: Mapping[str, str] | None = None, *options: str, lack: str | None = None
) -> Started:
    """Start `mecapy up`; used again on the same directory to see it recover, at the address that it had."""
    if not data.exists() and "--port" not in options:
        options = (*options, "--port", str(own_port()))
    environment = {**os.environ, "MECAPY_ALLOW_NEWER_PYTHON": "1", **(settings or {})}
    machine = (
        []
        if lack is None
        else [sys.executable, str(Path(__file__).parents[1] / "backends" / "degraded_machine.py"), lack]
    )
    command = [*machine, MECAPY, "up", "--data", str(data), "--ready-file", str(ready_file), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    return Started(process, ready_file)


def own_port() -> int:
    """A port that is free, and that no other platform of the run tries while this one is down.

    Platforms without a port try them in a row from the same one on; outgoing connections use those above 32767.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def archive(manifest: str, files: Mapping[str, str | bytes]) -> bytes:
    """A package's zip in memory."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("mecapy.yml", manifest)
        for name, text in files.items():
            target.writestr(name, text)
    return packed.getvalue()


def deploy(client: httpx2.Client, content: bytes, *, organization: str | None = None) -> dict[str, Any]:
    """Deploy and insist on a ready version; the answered package."""
    query = {"organization_slug": organization} if organization else None
    answer = client.post(
        "/packages/from-zip", params=query, files={"file": ("package.zip", content, "application/zip")}
    )
    assert answer.status_code == 200, answer.text
    package: dict[str, Any] = answer.json()["package"]
    assert package["status"] == "ready", answer.text
    return package
