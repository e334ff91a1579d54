"""Puts what a former version left behind into a data directory of the present one."""

import json
import lzma
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mecapy_platform.embedded.programs import postgres_bin
from support.platform.embedded_process import wait_for

HERE = Path(__file__).parent


def restore(former: str, data: Path) -> None:
    """`data`: of a platform that has been started once and is stopped; its database is replaced by the former one's."""
    with server_of(data) as (psql, environment):
        for statement in ("DROP DATABASE mecapy WITH (FORCE)", "CREATE DATABASE mecapy OWNER mecapy_owner"):
            subprocess.run([*psql, "-d", "postgres", "-c", statement], env=environment, check=True, capture_output=True)
        text = lzma.decompress((HERE / former / "database.sql.xz").read_bytes())
        command = [*psql, "-d", "mecapy", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(command, env=environment, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    files = data / "files"
    owner = files.stat()
    with tarfile.open(HERE / former / "storage.tar.xz") as archive:
        archive.extractall(files, filter="data")
    if os.geteuid() == 0:
        for path in (files / "storage", *(files / "storage").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def server_of(data: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The stopped platform's PostgreSQL alone: a psql command line and its environment."""
    cluster, socket = data / "postgres", data / "run" / "pg"
    owner = cluster.stat()
    user = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    password = json.loads((data / "secrets" / "instance.json").read_text())["passwords"]["postgres"]
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={socket}"]
    server = subprocess.Popen(
        [postgres_bin() / "postgres", "-D", cluster, *options],
        stderr=subprocess.DEVNULL,
        **user,  # type: ignore[call-overload]
    )
    try:
        ready = [str(postgres_bin() / "pg_isready"), "-q", "-h", str(socket)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL", 30)
        psql = [str(postgres_bin() / "psql"), "-q", "-h", str(socket), "-U", "postgres"]
        yield psql, {**os.environ, "PGPASSWORD": password}
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
