"""Workers as the platform runs them, on a real PostgreSQL, without a broker: hints come by `poke`."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, text

from mecapy_platform.core.lanes import Lane
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.db.tables import Attempt, Function, Task
from mecapy_platform.embedded import interpreters, programs
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.sandbox.base import Sandbox
from mecapy_platform.services.claims import Worker
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage
from mecapy_platform.worker.bell import QuietBell
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.fetch_process import FetchLimits
from mecapy_platform.worker.fetcher import Fetcher, make_fetcher
from mecapy_platform.worker.process import WorkerProcess
from mecapy_platform.worker.work_folder import WorkFolder
from support import factories
from support.platform.embedded_process import wait_for

CODE = """
import threading


def size(diameter):
    threading.Event().wait(diameter)
    return {"stress": diameter}
"""
ARCHIVE = "0" * 64  # the digest of the package that factories.ready_package makes


@dataclass
class WorkerBench:
    """`tasks` are handed out to every worker that `working` starts here."""

    server: Postgres
    database: Database
    folder: Path
    settings: Settings
    organization_id: UUID = field(default_factory=uuid4)
    _package: factories.ReadyPackage | None = None

    @contextmanager
    def working(
        self,
        sandbox: Sandbox,
        *,
        node: str = "node",
        lanes: Sequence[Lane] = (Lane.DEFAULT,),
        lane_sandboxes: dict[str, Sandbox] | None = None,
        tools: Sequence[str] = (),
        fetcher: Fetcher | None = None,
        **settings: Any,
    ) -> Iterator[WorkerProcess]:
        """One worker process, in threads of this one, until the block is left."""
        with ExitStack() as stack:
            chosen = self.settings.model_copy(update=settings)
            work = WorkFolder.make(self.folder / "work")
            stack.callback(work.close)
            database = Database(make_engine(self.server.worker_url, pool_size=8))
            stack.callback(database.dispose)
            context = WorkerContext(
                settings=chosen,
                database=database,
                storage=FilesystemStorage(self.folder / "storage", base_url="", secret="x"),
                sandbox=sandbox,
                lane_sandboxes=lane_sandboxes or {},
                send=lambda _lanes: None,
                worker=Worker(node, f"{node}-{uuid4().hex[:8]}", sandbox.name),
                work_dir=work.path,
                cache_dir=self.folder / "cache",
                interpreters=interpreters.find(),
                tools=tools,
                fetcher=fetcher
                or make_fetcher(
                    self.folder / "uv",
                    chosen.package_index_url,
                    FetchLimits(60, 1 << 30, may_be_root=True),
                    programs.bwrap(),
                ),
            )
            process = WorkerProcess(context, lanes, bell=lambda _lane: QuietBell(), clear_hint=lambda _lane: None)
            process.start()
            stack.callback(_until_nothing_builds)
            stack.callback(process.close)
            yield process

    def submit(self, count: int, seconds: float = 0.0, *, lane: Lane = Lane.DEFAULT, **columns: Any) -> list[UUID]:
        """So many queued tasks that sleep so long."""
        package = self._ready_package()
        with self.database.transaction() as session:
            usual = {
                "organization_id": self.organization_id,
                "package_version_id": package.version_id,
                "function_id": package.functions["size"],
                "lane": lane,
                "inputs": {"diameter": seconds},
                "memory_mb": 128,
            }
            made = [factories.queued_task(**{**usual, "number": number, **columns}) for number in range(count)]
            session.add_all(made)
            session.flush()
            return [task.id for task in made]

    def organization(self) -> UUID:
        """Whose the tasks are."""
        self._ready_package()
        return self.organization_id

    def need(self, *tools: str) -> None:
        """From now on the function asks for these."""
        with self.database.transaction() as session:
            function = session.get_one(Function, self._ready_package().functions["size"])
            function.options = {"needs": list(tools)}

    def tasks(self) -> list[Task]:
        with self.database.transaction() as session:
            return list(session.scalars(select(Task).order_by(Task.id)))

    def attempts(self) -> list[Attempt]:
        with self.database.transaction() as session:
            return list(session.scalars(select(Attempt).order_by(Attempt.id)))

    def states(self) -> dict[str, int]:
        with self.database.transaction() as session:
            rows = session.execute(text("SELECT state, count(*) FROM tasks GROUP BY state"))
            return {str(state): int(count) for state, count in rows}

    def release(self) -> None:
        """What the relay does every few seconds."""
        from mecapy_platform.services.release import due_lanes

        with self.database.transaction() as session:
            due_lanes(session)

    def wait_for_all(
        self, count: int, process: WorkerProcess, *, state: str = "completed", seconds: float = 60
    ) -> None:
        """So many tasks are in a state, with the relay's duties done meanwhile."""

        def are_there() -> bool:
            self.release()
            process.poke()
            return self.states().get(state, 0) == count

        wait_for(are_there, f"{count} tasks are {state}", seconds)

    def _ready_package(self) -> factories.ReadyPackage:
        if self._package is None:
            with self.database.transaction() as session:
                self.organization_id = factories.organization_of(session)
            self._package = factories.ready_package(self.database, self.organization_id, uuid4())
        return self._package


@contextmanager
def worker_bench(server: Postgres, database: Database, folder: Path, **settings: Any) -> Iterator[WorkerBench]:
    """An empty queue, and a package that every worker finds in its cache."""
    with database.transaction() as session:
        for table in ("events", "tasks", "lane_shares", "nodes"):
            session.execute(text(f"DELETE FROM {table}"))
    package = folder / "cache" / "packages" / ARCHIVE
    package.mkdir(parents=True)
    (package / "handler.py").write_text(CODE, "utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    defaults = {
        "database_worker_url": server.worker_url, "data_dir": folder, "heartbeat_seconds": 1.0, "drain_seconds": 0.0,
        "slots": {"high_priority": 4, "default": 4, "long_running": 4}, "cpu_overcommit": 8.0, "worker_memory_mb": 8192,
    }  # fmt: skip
    yield WorkerBench(server, database, folder, Settings().model_copy(update={**defaults, **settings}))


def _until_nothing_builds() -> None:
    """A build goes on in a thread of its own for a while, and writes into the folder that the test removes."""
    for thread in threading.enumerate():
        if thread.name == "builder":
            thread.join(60)
