"""What a worker process is given by bootstrap: where things are, who it is, how it isolates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mecapy_platform.db.session import Database
from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.sandbox.base import Sandbox
from mecapy_platform.services.claims import Worker
from mecapy_platform.services.release import Sender
from mecapy_platform.settings import Settings
from mecapy_platform.storage.base import Storage
from mecapy_platform.worker.fetcher import Fetcher
from mecapy_platform.worker.probe import Probe, nothing


@dataclass(frozen=True)
class WorkerContext:
    settings: Settings
    database: Database
    storage: Storage
    sandbox: Sandbox
    send: Sender
    worker: Worker
    work_dir: Path  # one directory per attempt, removed with it
    cache_dir: Path  # extracted packages and environments, by digest
    interpreters: Mapping[str, Interpreter]  # by minor version, "3.12"
    fetcher: Fetcher
    probe: Probe = field(default=nothing)
