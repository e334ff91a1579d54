"""The API over real PostgreSQL, in a thread of the test's process, spoken to by HTTP.

No queue, no worker: tests end tasks themselves.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from mecapy_platform.api.app import ApiContext, create_app
from mecapy_platform.core.access import Actor
from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.events.doorbell import Doorbell
from mecapy_platform.settings import Settings
from mecapy_platform.storage.filesystem import FilesystemStorage
from support import factories

JSON = Mapping[str, Any]


@dataclass
class ApiPlatform:
    url: str
    settings: Settings
    app_database: Database
    worker_database: Database
    storage: FilesystemStorage
    postgres: Postgres
    hints: list[None] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"{self.url}/realms/mecapy"

    def token(self, name: str, *organizations: str, roles: tuple[str, ...] = (), seconds: int = 3600) -> str:
        return factories.token(self.issuer, name, *organizations, roles=roles, seconds=seconds)

    def client(
        self, name: str, *organizations: str, roles: tuple[str, ...] = (), organization: str | None = None
    ) -> httpx2.Client:
        """A client signed in as `name`; `organization` goes into the header of our own paths."""
        headers = {"Authorization": f"Bearer {self.token(name, *organizations, roles=roles)}"}
        if organization:
            headers["MecaPy-Organization"] = organization
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60)

    def actor(self, name: str, *organizations: str, roles: tuple[str, ...] = ()) -> Actor:
        return factories.actor(self.app_database, name, *organizations, roles=roles, issuer=self.issuer)


@contextmanager
def api_platform(
    server: Postgres, directory: Path, *, prepare: Callable[[FastAPI], None] | None = None, **changes: object
) -> Iterator[ApiPlatform]:
    """Serve the API on a free port of loopback.

    `changes` are settings, `prepare` may override dependencies of the application.
    """
    migrate(server.owner_url)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    addresses: dict[str, object] = {
        "database_url": server.app_url,
        "public_url": url,
        "issuers": (f"{url}/realms/mecapy",),
        "embedded_issuer_key": factories.write_key(directory / "issuer.pem"),
        "signing_secret": "a-secret-of-the-test",
        "data_dir": directory,
        "database_worker_url": server.worker_url,
        "disk_floor_bytes": 0,
        "deploy_wait_seconds": 0.2,
    }
    settings = Settings.model_validate({**Settings().model_dump(), **addresses, **changes})
    database = Database(make_engine(settings.database_url))
    worker = Database(make_engine(server.worker_url))
    secret = settings.signing_secret.get_secret_value()
    storage = FilesystemStorage(
        directory / "storage", base_url=url, secret=secret, floor_bytes=settings.disk_floor_bytes
    )
    doorbell = Doorbell(server.app_url)
    platform = ApiPlatform(url, settings, database, worker, storage, server)
    context = ApiContext(
        settings,
        database,
        storage,
        doorbell,
        hints=lambda *_lanes: platform.hints.append(None),
        checks={"storage": storage.check_room},
    )
    app = create_app(context)
    if prepare is not None:
        prepare(app)
    config = uvicorn.Config(app, log_level="warning", loop="uvloop", http="httptools", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        with httpx2.Client(base_url=url) as client:
            assert client.get("/health").status_code == 200
        yield platform
    finally:
        running.should_exit = True
        thread.join(timeout=20)
        listener.close()
        for item in (database, worker):
            item.dispose()
