"""A platform under kills.

Its parts by name, `kill -9` of any of them, and what its database and its workers' ledger say.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from redis import Redis
from sqlalchemy import text

from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.postgres import Postgres, PostgresPlace
from mecapy_platform.embedded.program import embedded_settings
from mecapy_platform.embedded.valkey import Valkey, ValkeyPlace
from mecapy_platform.settings import Settings
from support.backends.docker_daemon import TestDaemon
from support.faults.checker import Record, read_ledger, read_records
from support.faults.client import CODE, Ledger, Submitter, in_background, manifest
from support.platform.embedded_process import is_alive, wait_for
from support.platform.running_platform import Running, archive, deploy, launch

ORGANIZATIONS = ("alpha", "beta")
WORKERS = ("worker-high_priority", "worker-default", "worker-long_running")
SETTINGS = {
    "MECAPY_CPU_OVERCOMMIT": "3",  # short sleeps on few cores
    "MECAPY_SLOTS": '{"high_priority": 6, "default": 6, "long_running": 4}',
    "MECAPY_MAX_ATTEMPTS": "30",  # kills in a row must not park a task that is not at fault
    "MECAPY_RETRY_BACKOFF_MAX_SECONDS": "4",
}
RECOVER_SECONDS = 60.0


@dataclass(frozen=True)
class Kill:
    """One fault.

    When, among how many tasks on their way, and from when on the platform answered again with every part alive.
    """

    what: str
    in_flight: int
    killed_at: float
    recovered_at: float


@dataclass
class Faulty:
    """A running platform, its client and everything that was done to it."""

    running: Running
    faults: Path
    ledger: Ledger = field(default_factory=Ledger)
    kills: list[Kill] = field(default_factory=list)
    submitters: list[Submitter] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)  # settings beyond those of every fault test
    daemon: TestDaemon | None = None  # that its containers run under
    _database: Database | None = None

    @property
    def database(self) -> Database:
        """As the worker's role, which sees every organization."""
        if self._database is None:
            self._database = Database(make_engine(self.settings().database_worker_url, pool_size=2))
        return self._database

    @property
    def is_durable(self) -> bool:
        """Runs of some lane outlive their worker, and another one goes on with them."""
        return any(
            "docker" in self.extra.get(name, "") for name in ("MECAPY_SANDBOX_BACKEND", "MECAPY_SANDBOX_BACKENDS")
        )

    def settings(self) -> Settings:
        """What the platform's own parts were given, read back from its data directory."""
        layout = Layout(self.running.data)
        values = secrets.read(layout)
        assert values is not None
        server = Postgres(
            PostgresPlace(layout.postgres, layout.postgres_run, layout.log("postgresql")), values.passwords
        )
        broker = Valkey(ValkeyPlace(layout.valkey, layout.log("valkey"), run=layout.valkey_run), values.valkey)
        return embedded_settings(layout, values, server, broker)

    def count(self, *, ended: bool) -> int:
        """Tasks that have ended, or have not: asked often, so the database counts."""
        with self.database.transaction() as session:
            query = text("SELECT count(*) FROM tasks WHERE (state IN ('queued', 'running')) <> :ended")
            return int(session.execute(query, {"ended": ended}).scalar_one())

    def records(self) -> list[Record]:
        return read_records(self.database)

    def watched(self) -> list[dict[str, object]]:
        return read_ledger(self.faults / "ledger")

    def submitting(self, count: int) -> AbstractContextManager[None]:
        return in_background(self.submitters, count)

    def kill_parts(self, *names: str) -> None:
        before = self.running.parts
        with self.recovering("+".join(names)):
            for name in names:
                for pid in before[name]:
                    os.kill(pid, signal.SIGKILL)
            wait_for(
                lambda: all(self._pids(name).isdisjoint(before[name]) for name in names),
                f"{names} started again",
                RECOVER_SECONDS,
            )

    def kill_at(self, point: str) -> None:
        """The process that next passes the named point kills itself there."""
        before = self.running.parts
        flag = self.faults / f"kill-{point}"
        with self.recovering(f"at {point}"):
            flag.touch()
            wait_for(lambda: not flag.exists(), f"a process passes {point}")
            wait_for(
                lambda: self.running.parts != before,
                f"the process that died at {point} is started again",
                RECOVER_SECONDS,
            )

    def kill_daemon(self) -> None:
        """Its containers go on; the machine starts it again."""
        assert self.daemon is not None
        with self.recovering("dockerd"):
            self.daemon.kill()
            self.daemon.start()

    def flush_broker(self) -> None:
        with self.recovering("FLUSHALL"), Redis.from_url(self.settings().broker_url) as broker:
            broker.flushall()

    def kill_everything(self) -> None:
        """The launcher dies, and all with it; then `mecapy up` again on the same directory."""
        old = self.running.parts
        url = self.running.url
        with self.recovering("mecapy up"):
            self.running.started.process.kill()
            self.running.started.process.wait(10)
            wait_for(
                lambda: not any(is_alive(pid) for pids in old.values() for pid in pids),
                "every part died with the launcher",
            )
            ready_file = self.running.started.ready_file
            ready_file.unlink(missing_ok=True)
            self.running.started = launch(self.running.data, ready_file, settings_of(self.faults) | self.extra)
            assert self.running.url == url

    @contextmanager
    def recovering(self, what: str) -> Iterator[None]:
        """Notes the kill that happens inside, and when the platform is whole again."""
        in_flight = self.count(ended=False)
        killed_at = time.time()
        yield
        wait_for(self._is_whole, f"whole again after {what}", RECOVER_SECONDS)
        self.kills.append(Kill(what, in_flight, killed_at, time.time()))

    def _is_whole(self) -> bool:
        if not all(pids and all(is_alive(pid) for pid in pids) for pids in self.running.parts.values()):
            return False
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{self.running.url}/ready", timeout=10).status_code == 200
        return False

    def _pids(self, name: str) -> set[int]:
        return set(self.running.parts[name])


def settings_of(faults: Path) -> dict[str, str]:
    return SETTINGS | {"MECAPY_FAULT_PROBE": str(faults)}


@contextmanager
def faulty_platform(extra: dict[str, str] | None = None, daemon: TestDaemon | None = None) -> Iterator[Faulty]:
    """With the package deployed for two organizations and a submitter for each. `extra`: more settings."""
    folder = Path(tempfile.mkdtemp(prefix="mecapy-faults-"))
    folder.chmod(0o755)
    data = folder / "data"
    faults = data / "files" / "faults"  # where workers may write
    more = dict(extra or {})
    if daemon is not None:
        daemon.directory.chmod(0o711)  # a worker, an ordinary user, passes through to the socket
        more["MECAPY_DOCKER_HOST"] = daemon.address
    running = Running(launch(data, folder / "ready.json", settings_of(faults) | more), data)
    platform = Faulty(running, faults, extra=more, daemon=daemon)
    try:
        running.started.ready()
        content = archive(manifest(), {"faults.py": CODE})
        for number, organization in enumerate(ORGANIZATIONS, 1):
            client = running.client(running.token(f"user-{organization}", organization), organization)
            deploy(client, content, organization=organization)
            platform.submitters.append(Submitter(client, organization, platform.ledger, seed=number))
        yield platform
    finally:
        for submitter in platform.submitters:
            submitter.close()
        running.started.finish()
        platform.database.dispose()
        shutil.rmtree(folder, ignore_errors=True)
