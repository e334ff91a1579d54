"""PostgreSQL and Valkey from the wheels: they answer, keep to themselves and leave nothing behind."""

from pathlib import Path

import psycopg
import pytest
import redis

from support.platform.services import postgres, valkey


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_postgres_answers_to_each_role_and_ends_with_the_block(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        pid = server.pid
        for role, url in (
            ("mecapy_owner", server.owner_url),
            ("mecapy_app", server.app_url),
            ("mecapy_worker", server.worker_url),
        ):
            with psycopg.connect(plain(url)) as connection:
                row = connection.execute(
                    "SELECT current_user, current_setting('is_superuser'), current_database()"
                ).fetchone()
            assert row == (role, "off", "mecapy")
    assert not alive(pid)
    assert list(tmp_path.iterdir()) == []


def test_the_application_role_creates_nothing_and_reads_no_other_role(tmp_path: Path) -> None:
    with postgres(tmp_path) as server, psycopg.connect(plain(server.app_url), autocommit=True) as connection:
        for statement in (
            "CREATE TABLE theirs (x int)",
            "CREATE SCHEMA theirs",
            "SET ROLE mecapy_owner",
            "SET ROLE mecapy_worker",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_postgres_refuses_a_wrong_password(tmp_path: Path) -> None:
    with postgres(tmp_path) as server, pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=server.host, port=server.port, dbname="mecapy", user="mecapy_app", password="wrong")


def test_valkey_keeps_what_it_was_told_over_a_kill(tmp_path: Path) -> None:
    with valkey(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("hint", "1")
            client.config_set("appendfsync", "always")
            client.set("hint", "2")
        server.child.kill()
        server.child.wait()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("hint") == b"2"


def test_valkey_refuses_to_work_without_the_password(tmp_path: Path) -> None:
    with valkey(tmp_path) as server, redis.Redis(port=server.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_valkey_evicts_nothing_and_hides_its_password(tmp_path: Path) -> None:
    with valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert server.url.split(":")[2].split("@")[0].encode() not in command
