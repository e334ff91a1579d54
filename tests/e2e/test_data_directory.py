"""Nobody else on the machine reads what a platform keeps, and none of its processes shows what another works with."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout
from support.bad_packages import small_manifest
from support.platform.other_user import opened_by_an_outsider
from support.platform.running_platform import Running, archive, deploy, platform

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts parts as users of their own")
# Names that anybody may open, and why
OPEN_TO_ALL = {
    r"issuer\.pub": "the public half of the issuer's key, which the API answers to everybody",
    r"run/(passwd|group)": "shown to all parts as /etc/passwd: names and numbers alone",
    r"run/sp/etc(/.*)?": "shown in every sandbox as /etc: nothing in it is the platform's",
    r"run/sp/point": "an empty folder, on which each sandbox mounts its own",
}
OWN = ("MECAPY_DATABASE_URL", "MECAPY_DATABASE_WORKER_URL", "MECAPY_DATABASE_OWNER_URL", "MECAPY_BROKER_URL")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Started with addresses in its environment, as by somebody who has them in a profile; it ran a package."""
    own = dict.fromkeys(OWN, "postgresql://told-by-the-environment")
    with platform({**own, "MECAPY_SIGNING_SECRET": "told-by-the-environment"}) as started:
        with started.client() as client:
            deploy(client, archive(small_manifest(), {"code.py": "def run():\n    return {}\n"}))
            asked = {"package": "small", "function": "run", "inputs": {}}
            task = client.post("/tasks", params={"wait": 60}, json=asked).json()
            assert task.get("state") == "completed", task
        yield started


def test_another_account_opens_nothing_of_the_data_directory(running: Running) -> None:
    assert list((running.data / "files/cache/packages").iterdir()), "nothing was deployed: the walk would prove little"
    opened = opened_by_an_outsider(running.data)
    assert [name for name in opened if not any(re.fullmatch(allowed, name) for allowed in OPEN_TO_ALL)] == []
    assert "issuer.pub" in opened, "the walk opens what is open"


def test_no_process_shows_a_secret_in_its_environment_or_command_line(running: Running) -> None:
    values = secrets.read(Layout(running.data))
    assert values is not None
    hidden = [*OWN, "told-by-the-environment", values.valkey, values.signing, *values.passwords.values()]
    shown = {
        (process.name(), word)
        for process in running.started.tree()
        for file in ("environ", "cmdline")
        for word in hidden
        if word.encode() in Path(f"/proc/{process.pid}/{file}").read_bytes()
    }
    assert shown == set()


def test_the_issuers_private_key_is_closed_to_every_part(running: Running) -> None:
    key = Layout(running.data).issuer_key
    found = key.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    users = {psutil.Process(pid).uids().effective for name in ("api", "relay") for pid in running.parts[name]}
    assert 0 not in users


def test_every_part_makes_files_for_itself_alone(running: Running) -> None:
    masks = {
        name: Path(f"/proc/{pid}/status").read_text().split("Umask:\t")[1].split()[0]
        for name, pids in running.parts.items()
        for pid in pids
    }
    assert {name for name, mask in masks.items() if mask != "0077"} == {"spawner"}, "it makes what sandboxes read"
