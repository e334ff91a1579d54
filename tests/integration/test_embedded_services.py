"""PostgreSQL and Valkey from the wheels: they answer, keep to themselves and leave nothing behind."""

from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from mecapy_platform.queue.celery_app import make_app
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


def test_no_role_but_the_platforms_connects_or_listens(tmp_path: Path) -> None:
    """Whoever is connected to the database could listen to its channels, which carry results of every organization."""
    with postgres(tmp_path) as server:
        with psycopg.connect(plain(server.url("postgres")), autocommit=True) as connection:
            connection.execute("CREATE ROLE outsider LOGIN PASSWORD 'known'")
            connection.execute("GRANT CONNECT ON DATABASE mecapy TO outsider")
        outsider = psycopg.conninfo.make_conninfo(plain(server.app_url), user="outsider", password="known")
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
            psycopg.connect(outsider)


def test_a_session_of_another_database_hears_nothing(tmp_path: Path) -> None:
    """Not even one of the superuser's: channels are the database's own."""
    elsewhere = {"dbname": "postgres"}
    with postgres(tmp_path) as server:
        conninfo = plain(server.url("postgres"))
        with (
            psycopg.connect(conninfo, autocommit=True) as inside,
            psycopg.connect(psycopg.conninfo.make_conninfo(conninfo, **elsewhere), autocommit=True) as outside,
            psycopg.connect(plain(server.worker_url), autocommit=True) as worker,
        ):
            for listener in (inside, outside):
                listener.execute("LISTEN mecapy_test")
            worker.execute("NOTIFY mecapy_test, 'result'")
            assert [notify.payload for notify in inside.notifies(timeout=5, stop_after=1)] == ["result"]
            outside.execute("SELECT 1")
            assert list(outside.notifies(timeout=0)) == []


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
    with (
        valkey(tmp_path) as server,
        redis.Redis(unix_socket_path=str(server.place.socket)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_valkey_listens_on_its_socket_alone(tmp_path: Path) -> None:
    with valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}
        assert psutil.Process(server.pid).net_connections("inet") == []


def test_valkey_listens_on_loopback_where_its_socket_would_lie_too_deep(tmp_path: Path) -> None:
    with valkey(tmp_path, has_socket=False) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert {net_connection.laddr.ip for net_connection in psutil.Process(server.pid).net_connections("inet")} == {
            "127.0.0.1"
        }


def test_celery_takes_and_gives_messages_over_the_socket(tmp_path: Path) -> None:
    with valkey(tmp_path) as server, make_app(server.url) as app, redis.Redis.from_url(server.url) as client:
        app.send_task("anything", queue="a-queue")
        assert client.llen("a-queue") == 1
        with app.connection() as connection, connection.SimpleQueue("a-queue") as waiting:
            assert waiting.get(timeout=5).headers["task"] == "anything"


def test_valkey_evicts_nothing_and_hides_its_password(tmp_path: Path) -> None:
    with valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert server.url.split(":")[2].split("@")[0].encode() not in command
