"""What lies where in a data directory, and to whom each part belongs."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.embedded.uids import Users

LOG_BYTES = 20 << 20


@dataclass(frozen=True)
class Layout:
    """The directories of one instance."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def connection(self) -> Path:
        """URL and token for `mecapy login`."""
        return self.root / "connection.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def issuer_key(self) -> Path:
        return self.secrets / "issuer.pem"

    @property
    def issuer_public_key(self) -> Path:
        """Its public half: all that the API is given of it."""
        return self.root / "issuer.pub"

    @property
    def files(self) -> Path:
        """What API, relay and workers write: objects, environments, workspaces."""
        return self.root / "files"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def postgres_run(self) -> Path:
        return self.run / "pg"

    @property
    def valkey_run(self) -> Path:
        return self.run / "vk"

    @property
    def spawner_run(self) -> Path:
        return self.run / "sp"

    @property
    def spawner_socket(self) -> Path:
        return self.spawner_run / "s"

    @property
    def companions_run(self) -> Path:
        """Sockets of processes that a backend needs beside its workers."""
        return self.run / "co"

    @property
    def instance_name(self) -> str:
        """Short, stable and different for each data directory."""
        return hashlib.sha256(bytes(self.root)).hexdigest()[:12]

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def make(self, users: Users) -> None:
        """Make what is missing, and close what an earlier version left open.

        With one user nobody else sees anything. With several, each sees its own part: sandboxes' users pass through
        to nothing here, for the spawner shows them what they need by descriptor.
        """
        is_shared = users.database.uid != users.service.uid
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o711 if is_shared else 0o700)
        for path in (self.root / "logs", self.secrets, self.run):
            path.mkdir(exist_ok=True)
            path.chmod(0o711 if path == self.run else 0o700)
        for path in (self.root / "logs").glob("*.log*"):
            path.chmod(0o600)
        users.database.make_directory(self.postgres)
        users.database.make_directory(self.valkey)
        for path in (self.postgres_run, self.valkey_run):  # whoever cannot pass through reaches no socket in them
            users.database.make_directory(path, 0o710, group=users.service)
        users.service.make_directory(self.files)
        users.service.make_directory(self.home)
        for path in (self.spawner_run, self.companions_run):
            path.mkdir(exist_ok=True)
            path.chmod(0o711)

    def rotate_logs(self) -> None:
        """Keep one older file of each log that has grown large."""
        for path in (self.root / "logs").glob("*.log"):
            if path.stat().st_size > LOG_BYTES:
                path.replace(path.with_suffix(".log.1"))


def default_root() -> Path:
    """`.mecapy` of the working directory: a project keeps its platform beside it."""
    return Path.cwd() / ".mecapy"


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Readers see the old file or the whole new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w") as stream:
            os.fchmod(stream.fileno(), mode)  # whatever the umask
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
