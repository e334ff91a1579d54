"""The broker does few things, only with what is ours, and no word of a worker reaches the daemon as it is."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.sandbox_contract import PACKAGE, Bench, follow, wait_until
from mecapy_platform.core.errors import OutageError, SandboxError
from mecapy_platform.sandbox.base import SandboxSpec
from mecapy_platform.sandbox.docker import wire
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.broker.config import BrokerConfig, spec_as_request
from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from mecapy_platform.sandbox.docker.container_config import write_run_folder
from mecapy_platform.sandbox.docker.local_broker import LocalBroker
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.root.etc import write_etc
from support.backends.docker_daemon import TestDaemon, daemon
from support.backends.docker_images import load_bare_image, need_busybox

PLATFORM = "ours"


@pytest.fixture(scope="module")
def engine() -> Iterator[TestDaemon]:
    need_busybox()
    with daemon() as started:
        yield started


@pytest.fixture(scope="module")
def foreign(engine: TestDaemon) -> str:
    """A container of somebody else on the same daemon."""
    speaks = Daemon(engine.address)
    image = load_bare_image(speaks)
    made = speaks.create(
        {"Image": image, "Cmd": ["/busybox", "sleep", "1000"], "Labels": {"mecapy.platform": "theirs"}}, "foreign"
    )
    speaks.start(made)
    speaks.close()
    return made


class Workshop:
    """A broker whose socket and whose process the test knows, and a folder that it may show."""

    def __init__(self, engine: TestDaemon) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.folder.chmod(0o755)
        shutil.copytree(PACKAGE, self.folder / "package", ignore=shutil.ignore_patterns("__pycache__"))
        roots = tuple(os.path.realpath(path) for path in (str(self.folder), sys.prefix, sys.base_prefix))
        self.config = BrokerConfig(os.geteuid(), roots, engine.address, PLATFORM)
        self.broker = LocalBroker.start(self.config)
        self.options = DockerOptions(self.folder / "runs", "unix:///nonexistent", PLATFORM, broker=self.broker.address)
        self.sandbox = DockerSandbox(self.options)

    def ask(self, verb: str, **members: Any) -> dict[str, Any]:
        """What a worker gets that says anything it likes."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(self.broker.address)
            wire.send(connection, {"verb": verb, **members})
            return list(wire.answers(connection))[-1]

    def run_request(self, **changes: Any) -> dict[str, Any]:
        name = f"mecapy-{PLATFORM}-{'0' * 16}"
        folder = self.options.home / name
        write_run_folder(folder, self.config.first_uid)
        write_etc(self.options.home / "etc")
        bench = Bench(self.sandbox, self.folder, Path(sys.executable).resolve())
        spec: SandboxSpec = bench.spec("double", {"value": 2})
        request = {
            "name": name,
            "folder": str(folder),
            "uid": self.config.first_uid,
            "node": "",
            "waits": False,
            "run": spec_as_request(spec),
        }
        return {**request, **changes}

    def close(self) -> None:
        for kept in self.sandbox.kept():
            self.sandbox.remove(kept.reference)
        self.sandbox.close()
        self.broker.stop()


@pytest.fixture
def shop(engine: TestDaemon) -> Iterator[Workshop]:
    made = Workshop(engine)
    yield made
    made.close()


def refusal(answer: dict[str, Any]) -> str:
    assert answer["error"]["code"] == "broker_refused", answer
    return str(answer["error"]["message"])


def test_a_container_that_a_worker_may_ask_for_is_made(shop: Workshop) -> None:
    made = shop.ask("create", **shop.run_request())
    assert "done" in made, made
    assert shop.ask("remove", container=made["done"]["id"])["done"] is True


@pytest.mark.parametrize(
    "changes",
    [
        {"HostConfig": {"Privileged": True}},
        {"Image": "other"},
        {"name": "mecapy-theirs-0000000000000000"},
        {"folder": "/etc"},
        {"uid": 0},
        {"uid": True},
        {"uid": "1950000000"},
        {"waits": 1},
        {"run": {}},
        {"run": None},
    ],
    ids=str,
)
def test_a_request_that_asks_for_more_is_refused(shop: Workshop, changes: dict[str, Any]) -> None:
    assert refusal(shop.ask("create", **shop.run_request(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"package": "/etc"},
        {"package": "/"},
        {"package": "relative"},
        {"inputs": "/var/run"},
        {"inputs": "/nonexistent"},
        {"interpreter": "/etc/shadow"},
        {"site_packages": "/root"},
        {"mounts": [["/", "/host"]]},
        {"labels": {"mecapy.platform": "theirs"}},
        {"limits": {}},
        {"limits": {"cpu": -1}},
        {"entrypoint": "sh"},
        {"image": "alpine"},
        {"keep": "yes"},
    ],
    ids=str,
)
def test_a_run_that_leads_out_of_the_folders_or_says_more_than_a_run_is_refused(
    shop: Workshop, changes: dict[str, Any]
) -> None:
    request = shop.run_request()
    assert refusal(shop.ask("create", **{**request, "run": {**request["run"], **changes}}))


def test_a_link_to_another_place_is_judged_by_where_it_leads(shop: Workshop) -> None:
    (shop.folder / "link").symlink_to("/etc")
    request = shop.run_request()
    assert refusal(shop.ask("create", **{**request, "run": {**request["run"], "package": str(shop.folder / "link")}}))


@pytest.mark.parametrize("verb", ["inspect", "start", "last_words", "remove"])
def test_containers_of_others_are_not_touched(shop: Workshop, engine: TestDaemon, foreign: str, verb: str) -> None:
    answer = shop.ask(verb, container=foreign)
    assert answer.get("done") in {None, False}
    speaks = Daemon(engine.address)
    found = speaks.inspect(foreign)
    speaks.close()
    assert found is not None
    assert found["State"]["Running"]


@pytest.mark.parametrize("name", ["foreign", "../json", "a" * 63, "A" * 64, 7, None, "0" * 64 + "/archive"])
def test_a_container_is_named_by_its_whole_id_alone(shop: Workshop, foreign: str, name: object) -> None:
    del foreign
    assert refusal(shop.ask("inspect", container=name))


@pytest.mark.parametrize("verb", ["exec", "", "__class__", "pull", None, 7, ["create"]])
def test_there_are_no_other_verbs(shop: Workshop, verb: Any) -> None:
    assert refusal(shop.ask(verb))


@pytest.mark.parametrize("raw", [b"", b"{\n", b"[]\n", b"7\n", b"[" * 100_000 + b"\n", b"\xff\xfe\n"])
def test_bytes_that_are_no_request_end_their_own_connection_alone(shop: Workshop, raw: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(shop.broker.address)
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)
    assert shop.ask("facts")["done"]["uid"] == os.geteuid()


def test_another_user_of_the_machine_gets_no_answer(shop: Workshop) -> None:
    Path(shop.broker.directory).chmod(0o755)
    Path(shop.broker.address).chmod(0o666)
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        'try:\n s.sendall(b\'{"verb": "facts"}\\n\'); print(s.recv(100))\n'
        "except OSError: print(b'')\n"
    )
    said = subprocess.run(
        ["/usr/bin/python3", "-c", script, shop.broker.address],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert said.stdout == "b''\n"


def test_containers_outlive_their_broker_and_the_next_one_goes_on_with_them(shop: Workshop) -> None:
    bench = Bench(shop.sandbox, shop.folder, Path(sys.executable).resolve())
    run = shop.sandbox.start(bench.spec("counts", {"count": 20, "seconds": 0.1}))
    os.kill(shop.broker.process.pid, signal.SIGKILL)
    shop.broker.process.wait(10)
    with run:
        outcome = follow(run)
        assert outcome.result == {"result": 20}
        with pytest.raises(OutageError) as caught:
            shop.sandbox.life()
        assert caught.value.code == "broker_unreachable"
    next_one = LocalBroker.start(shop.config)
    Path(next_one.address).replace(shop.broker.address)  # as the one that the launcher starts again
    wait_until(lambda: bool(shop.sandbox.life()), 10)
    for kept in shop.sandbox.kept():
        shop.sandbox.remove(kept.reference)
    assert shop.sandbox.kept() == []
    shop.broker = next_one


def test_a_daemon_that_is_away_is_an_outage_also_behind_a_broker(tmp_path: Path) -> None:
    broker = LocalBroker.start(BrokerConfig(os.geteuid(), ("/",), f"unix://{tmp_path}/none"))
    sandbox = DockerSandbox(DockerOptions(tmp_path / "runs", broker=broker.address))
    for asks in (sandbox.life, sandbox.kept):
        with pytest.raises(OutageError) as caught:
            asks()
        assert caught.value.code == "docker_unreachable"
    sandbox.close()
    broker.stop()


def test_an_image_is_never_named_but_by_its_id(shop: Workshop) -> None:
    for verb in ("has_image", "save_image"):
        assert refusal(shop.ask(verb, image="test/bare"))


def test_a_worker_s_program_never_loads_the_docker_library() -> None:
    script = (
        "import sys, mecapy_platform.bootstrap; print(json.dumps(sorted({'docker', 'requests'} & set(sys.modules))))"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"import json; {script}"], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(found.stdout) == []


def test_what_the_broker_refuses_is_nobody_s_outage(shop: Workshop) -> None:
    with pytest.raises(SandboxError) as caught:
        shop.sandbox.images.has("test/bare")
    assert not isinstance(caught.value, OutageError)
