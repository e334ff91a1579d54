"""Real PostgreSQL and Valkey for a test session, started by the platform's own launcher code and ended by pid.

Each process of xdist starts its own server, once, and its tests take databases of their own on it (`fresh_database`).
As root they run as `nobody`, in a directory that this user can reach.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from psycopg import sql
from sqlalchemy import make_url

from mecapy_platform.db.schema import migrate
from mecapy_platform.db.session import Database, make_engine
from mecapy_platform.embedded.postgres import DATABASE, ROLES, Postgres, PostgresPlace
from mecapy_platform.embedded.users import User
from mecapy_platform.embedded.valkey import Valkey, ValkeyPlace
from support.platform.kept import KEPT_TO_THE_END

NOBODY = User("nobody", 65534)
TEMPLATE = "mecapy_migrated"
_numbers = count(1)


class FreshDatabase(Postgres):
    """A database of a test's own on a server that other tests use too: `.owner_url`, `.app_url`, `.worker_url`."""

    def __init__(self, server: Postgres, name: str) -> None:
        super().__init__(server.place, server._passwords)
        self.host, self.port, self._child = server.host, server.port, server._child
        self.name = name

    def url(self, role: str) -> str:
        return make_url(super().url(role)).set(database=self.name).render_as_string(hide_password=False)

    def start(self) -> None:
        raise AssertionError("other tests use this server too: take `postgres()` for one that may be stopped")

    stop = start


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """As the role that the URL names, until the block is left."""
    database = Database(make_engine(url))
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def fresh_database(*, is_migrated: bool = True) -> Iterator[Postgres]:
    """A copy of the migrated database, or of the one before the first migration, on this process's own server.

    For tests that neither stop the server nor look at all of it; those take `postgres()`.
    """
    server = _server()
    name = f"fresh_{next(_numbers)}"
    _copy(server, name, TEMPLATE if is_migrated else DATABASE)
    try:
        yield FreshDatabase(server, name)
    finally:
        with server._connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@cache
def _server() -> Postgres:
    server = KEPT_TO_THE_END.enter_context(postgres())
    _copy(server, TEMPLATE, DATABASE)
    migrate(FreshDatabase(server, TEMPLATE).owner_url)
    return server


def _copy(server: Postgres, name: str, template: str) -> None:
    """Rights on a database are not copied with it: they are given as the launcher gives them."""
    made, owner = sql.Identifier(name), sql.Identifier("mecapy_owner")
    with server._connect("postgres") as connection:
        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        connection.execute(create.format(made, owner, sql.Identifier(template)))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(made))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO mecapy_app, mecapy_worker").format(made))


@contextmanager
def postgres(tmp: Path | None = None) -> Iterator[Postgres]:
    """A throw-away server with the roles and the empty database: `.owner_url`, `.app_url`, `.worker_url`, `.pid`."""
    with _place(tmp) as (root, user):
        place = PostgresPlace(
            _made(user, root / "postgres"), _made(user, root / "run"), root / "postgresql.log", user, is_throw_away=True
        )
        server = Postgres(place, {role: secrets.token_hex(16) for role in ("postgres", *ROLES)})
        server.initialise()
        try:
            server.start()
            server.ensure_roles()
            yield server
        finally:
            server.stop()


@contextmanager
def valkey(tmp: Path | None = None, *, has_socket: bool = True) -> Iterator[Valkey]:
    """A throw-away server: `.url`, `.pid`. Without a socket it listens on loopback."""
    with _place(tmp) as (root, user):
        place = ValkeyPlace(
            _made(user, root / "valkey"),
            root / "valkey.log",
            user,
            run=_made(user, root / "vk") if has_socket else None,
        )
        server = Valkey(place, secrets.token_hex(16))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def _place(tmp: Path | None) -> Iterator[tuple[Path, User | None]]:
    """A directory for the server.

    Below `tmp`, or below the system's temporary directory where root's `tmp` is closed to others.
    """
    user = NOBODY if os.geteuid() == 0 else None
    parent = tmp if tmp is not None and (user is None or _is_open(tmp)) else None
    root = Path(tempfile.mkdtemp(prefix="mecapy-", dir=parent))
    root.chmod(0o755)
    try:
        yield root, user
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _is_open(path: Path) -> bool:
    return all(item.stat().st_mode & 0o001 for item in (path, *path.parents))


def _made(user: User | None, path: Path) -> Path:
    path.mkdir(mode=0o700)
    if user is not None:
        user.own(path)
    return path
