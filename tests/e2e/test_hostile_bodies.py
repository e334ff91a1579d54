"""Hostile bodies through the real HTTP API: whoever sends them, the event loop stays free and the memory bounded."""

import json
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from support.platform.running_platform import Running, platform

MIB = 1 << 20
ALLOWED_BYTES = 64 * MIB
AT_ONCE = 4
IDLE_ASKED, ASKED = 400, 100
WORST_SECONDS = 0.25
TIMES = 10  # of the idle platform's
pytestmark = pytest.mark.alone
BODIES: dict[str, Callable[[], bytes]] = {
    "a key twice, 120 KB": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(12_000)) + b',"11999":1}',
    "a key twice, 20 MB": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(1_500_000)) + b',"1499999":1}',
    "depth": lambda: b"[" * (19 * MIB),
    "depth of objects": lambda: b'{"a":' * (3 * MIB),
    "digits": lambda: b"1" * (19 * MIB),
    "many numbers": lambda: b'{"inputs": [' + b"1e300," * (3 * MIB) + b"1]}",
    "empty lists": lambda: b'{"inputs": [' + b"[]," * (6 * MIB) + b"1]}",
    "empty texts": lambda: b'{"inputs": [' + b'{"":""},' * (2 * MIB) + b"1]}",
    "halves of surrogates": lambda: b'{"inputs": {"a": "' + rb"\ud800" * (3 * MIB) + b'"}}',
    "nan": lambda: b'{"inputs": {"a": [' + b"0," * (8 * MIB) + b"NaN]}}",
    "small ones": lambda: b"[" + b"[]," * 1300 + b"1]",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with platform() as started:
        yield started


PROBE = """
import http.client, select, sys, time
connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
while not select.select([sys.stdin], [], [], 0.005)[0]:
    began = time.perf_counter()
    connection.request("GET", "/health")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    print(time.perf_counter() - began, flush=True)
"""


class Probe:
    """Asks for `/health` over and over from a process of its own, so that the attackers' work does not delay it."""

    def __init__(self, url: str) -> None:
        self.seconds: list[float] = []
        self._child = subprocess.Popen(
            [sys.executable, "-c", PROBE, urlsplit(url).netloc],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self.seconds.append(float(line))

    @property
    def is_asking(self) -> bool:
        return self._reading.is_alive()

    def end(self) -> list[float]:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._reading.join()
        assert self._child.wait() == 0
        return self.seconds[1:]  # the first one opened the connection


def asked_during(url: str, attack: Callable[[], object], count: int) -> list[float]:
    """Seconds of the answers while `attack` goes on, again and again until there are enough to judge by."""
    probe = Probe(url)
    try:
        while len(probe.seconds) < count and probe.is_asking:
            attack()
    finally:
        seconds = probe.end()
    return seconds


def percentile(seconds: Sequence[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


class Watched:
    """The API's process: its memory, and how fast it says that it is there."""

    def __init__(self, running: Running) -> None:
        self.running, self.pids = running, running.parts["api"]
        self._folder = Path("/proc", str(self.pids[0]))
        self.idle = asked_during(running.url, lambda: None, IDLE_ASKED)
        (self._folder / "clear_refs").write_text("5")
        self._idle_bytes = self._status("VmRSS")

    def above_idle_bytes(self) -> int:
        return self._status("VmHWM") - self._idle_bytes

    def _status(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


@pytest.fixture(scope="module")
def watched(running: Running) -> Watched:
    with running.client() as client:  # the process for large bodies is there, as after the first of them
        client.post("/tasks", content=b" " * 100_000, headers={"Content-Type": "application/json"})
    return Watched(running)


def check(watched: Watched, name: str, seconds: Sequence[float]) -> None:
    """The promise: p99 within ten times of idle, nothing above a quarter of a second, memory within 64 MiB."""
    idle_p99, p99, worst = percentile(watched.idle, 0.99), percentile(seconds, 0.99), max(seconds)
    median, idle_median = statistics.median(seconds), statistics.median(watched.idle)
    sys.stdout.write(
        f"{name}: idle median {idle_median * 1e3:.2f} p99 {idle_p99 * 1e3:.2f} ms, meanwhile median {median * 1e3:.2f} "
        f"p99 {p99 * 1e3:.2f} worst {worst * 1e3:.2f} ms of {len(seconds)} ({worst / idle_median:.1f} idle medians); "
        f"{watched.above_idle_bytes() / MIB:.1f} MiB above idle\n"
    )
    assert p99 <= TIMES * idle_p99
    assert worst <= WORST_SECONDS
    assert watched.above_idle_bytes() <= ALLOWED_BYTES
    assert watched.running.parts["api"] == watched.pids


@pytest.mark.parametrize("token", [False, True], ids=["a stranger", "a user"])
@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
def test_the_api_answers_meanwhile_and_keeps_its_memory(
    watched: Watched, make: Callable[[], bytes], token: bool, request: pytest.FixtureRequest
) -> None:
    content = make()
    answers: list[httpx2.Response] = []

    def send(path: str) -> None:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {watched.running.ready['token']}"
        with httpx2.Client(base_url=watched.running.url, headers=headers, timeout=120) as client:
            answers.append(client.post(path, content=content))

    def attack() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(send, ["/tasks", "/tasks?wait=5", "/tasks/bulk", "/types/check-connection"]))

    seconds = asked_during(watched.running.url, attack, ASKED)
    assert len(answers) >= AT_ONCE
    assert {answer.status_code for answer in answers} <= ({400, 413, 422} if token else {400, 401, 413, 422})
    assert all(answer.json()["code"] for answer in answers)
    check(watched, request.node.name, seconds)


def test_slow_large_bodies_hold_nobody_up(watched: Watched) -> None:
    address = urlsplit(watched.running.url)
    head = f"POST /tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {watched.running.ready['token']}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 20000000\r\n\r\n"
    senders = [socket.create_connection((str(address.hostname), int(address.port or 80)), 30) for _ in range(40)]

    for sender in senders:
        sender.sendall(head.encode() + b"[" * 200_000)

    def attack() -> None:
        for sender in senders:
            sender.sendall(b"[")

    seconds = asked_during(watched.running.url, attack, ASKED)
    with watched.running.client() as client:
        asked = {"package": "nonesuch", "function": "run", "inputs": {"a": "x" * 200_000}}
        answer = client.post("/tasks", content=json.dumps(asked), headers={"Content-Type": "application/json"})
        assert answer.status_code == 404, "a large body that is whole is read before those that are not"
    for sender in senders:
        sender.close()
    check(watched, "slow", seconds)
