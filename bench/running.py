"""A platform of the benchmark's own, and a minimal HTTP client on one kept connection (a raw socket costs least)."""

import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MECAPY = str(Path(sys.executable).with_name("mecapy"))
MANIFEST = """
version: "1"
package: {name: nonce, version: 1.0.0}
runtime: {kind: python, version: "%s"}
functions:
  answer:
    handler: nonce:answer
    inputs: {nonce: Integer}
    outputs: {answer: Integer, namespace: String}
    resources: {tier: nano, timeout: 5}
  cold:
    handler: nonce:answer
    inputs: {nonce: Integer}
    outputs: {answer: Integer, namespace: String}
    resources: {tier: nano, timeout: 5}
platform:
  functions:
    cold: {warm: false}
"""
# The kernel gives the inode of a namespace that has ended to the next one: with the moment of the call the pair is
# unique.
CODE = """import os
import time

def answer(nonce):
    return {"answer": nonce * 3 + 1, "namespace": f"{os.stat('/proc/self/ns/pid').st_ino} {time.monotonic_ns()}"}
"""


@dataclass
class Platform:
    process: "subprocess.Popen[bytes]"
    ready: dict[str, Any]
    data: Path
    seconds_to_ready: float
    mecapy: str = MECAPY

    def token(self, user: str, organization: str) -> str:
        command = [self.mecapy, "token", "--data", str(self.data), "--user", user, "--organization", organization]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def signal(self, prefix: str, number: signal.Signals) -> None:
        """To the parts whose name begins with `prefix`; all of them are ours."""
        for name, pids in self.ready["parts"].items():
            if name.startswith(prefix):
                for pid in pids:
                    os.kill(pid, number)


@contextmanager
def started(module: str | None = None, *, mecapy: str = MECAPY) -> Iterator[Platform]:
    """`mecapy up`, of another commit too, or a module that starts another kind of platform with the same arguments."""
    folder = Path(tempfile.mkdtemp(prefix="mecapy-bench-"))
    folder.chmod(0o755)
    ready_file = folder / "ready.json"
    began = time.monotonic()
    environment = {**os.environ, "MECAPY_ALLOW_NEWER_PYTHON": "1"}
    program = [mecapy, "up"] if module is None else [sys.executable, "-m", module]
    command = [*program, "--data", str(folder / "data"), "--ready-file", str(ready_file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        while not ready_file.exists():
            if process.poll() is not None:
                sys.exit("mecapy up ended before it was ready")
            threading.Event().wait(0.02)
        yield Platform(process, json.loads(ready_file.read_text()), folder / "data", time.monotonic() - began, mecapy)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


class Api:
    """One connection of one user."""

    def __init__(self, url: str, token: str) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text)

    def deploy(self, organization: str, manifest: str = MANIFEST, code: str = CODE) -> float:
        """Deploy the benchmark's package; the seconds it took until it was ready."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as target:
            target.writestr("mecapy.yml", manifest % ".".join(str(part) for part in sys.version_info[:2]))
            target.writestr("nonce.py", code)
        mark = "benchmark-boundary"
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\nContent-Type: '
            f"application/zip\r\n\r\n"
        )
        body = head.encode() + packed.getvalue() + f"\r\n--{mark}--\r\n".encode()
        headers = {**self._headers, "Content-Type": f"multipart/form-data; boundary={mark}"}
        began = time.perf_counter()
        self._connection.request("POST", f"/packages/from-zip?organization_slug={organization}", body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200 or json.loads(text)["package"]["status"] != "ready":
            raise RuntimeError(f"deploy: {answer.status} {text[:1000]!r}")
        return time.perf_counter() - began


def request(nonce: int) -> dict[str, Any]:
    return {"package": "nonce", "function": "answer", "inputs": {"nonce": nonce}}


def check(task: dict[str, Any], nonce: int, namespaces: set[str]) -> None:
    """The answer is of this nonce, and of a PID namespace that no other task had."""
    if task["state"] != "completed" or task["result"]["answer"] != nonce * 3 + 1:
        raise RuntimeError(f"wrong answer: {task}")
    namespaces.add(task["result"]["namespace"])
