"""Real PostgreSQL and Valkey for a test session, started by the platform's own launcher code and ended by pid.

Each process of xdist starts its own. As root they run as `nobody`, in a directory that this user can reach.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mecapy_platform.embedded.postgres import ROLES, Postgres, PostgresPlace
from mecapy_platform.embedded.users import User
from mecapy_platform.embedded.valkey import Valkey, ValkeyPlace

NOBODY = User("nobody", 65534)


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
def valkey(tmp: Path | None = None) -> Iterator[Valkey]:
    """A throw-away server: `.url`, `.pid`."""
    with _place(tmp) as (root, user):
        server = Valkey(ValkeyPlace(_made(user, root / "valkey"), root / "valkey.log", user), secrets.token_hex(16))
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
    return all(one.stat().st_mode & 0o001 for one in (path, *path.parents))


def _made(user: User | None, path: Path) -> Path:
    path.mkdir(mode=0o700)
    if user is not None:
        user.own(path)
    return path
