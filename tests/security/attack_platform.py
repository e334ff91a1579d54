"""A platform under attack.

The package that holds the attacks, what an insider knows of the host, and what each task told.
"""

import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx2

from mecapy_platform.core.checks.findings import CheckName
from mecapy_platform.embedded.layout import Layout
from security.backends import Backend
from security.cases import Case
from support.left_behind import traces
from support.platform.running_platform import Running, archive, deploy, platform

ATTACKS = Path(__file__).parent / "attacks"
CASES_OF_A_BATCH = 6
CANARY = "canary of the host: whoever reads this has escaped"
ABSTRACT = f"mecapy-attack-{os.getpid()}"
CLOCK_STEP_SECONDS = 0.02
AHEAD_SECONDS = 0.3
ALL_OFF = json.dumps(dict.fromkeys(CheckName, "off"))
CHECKS = ("sources", "hostile", "bandit", "imports", "restricted_python", "secrets", "vulnerabilities", "licences")
SETTINGS = {
    "MECAPY_GRACE_SECONDS": "1",
    "MECAPY_CHECKS": ALL_OFF,  # the sandbox alone is under attack
    "MECAPY_OUTPUT_BYTES": str(64 << 20),
    "MECAPY_RESULT_BYTES": str(8 << 20),
    "MECAPY_LOG_BYTES": str(1 << 20),
}
PROFILES = {
    "many": (512, 200),
    "one": (128, 30),
    "brief": (128, 3),
    "roomy": (1024, 60),
    "reused": (128, 30),
}  # MiB, seconds
HEAD = """
version: "1"
package: {{name: attacks, version: 1.0.0}}
runtime: {{kind: python, version: "3.11"}}
platform: {{warm: {warm}, functions: {{reused: {{reuse: 20}}}}}}
functions:
"""
FUNCTION = (
    "  {name}: {{handler: 'entry:{handler}', inputs: {inputs}, outputs: {{reports: String}}, resources: {resources}}}\n"
)


def package(*, is_warm: bool) -> bytes:
    text = HEAD.format(warm=str(is_warm).lower())
    for name, (memory_mb, seconds) in PROFILES.items():
        handler = "batch" if name == "many" else "alone"
        inputs = "{cases: 'list[String]', world: Object}" if handler == "batch" else "{case: String, world: Object}"
        resources = f"{{cpu: 1, memory_mb: {memory_mb}, timeout: {seconds}}}"
        text += FUNCTION.format(name=name, handler=handler, inputs=inputs, resources=resources)
    return archive(text, {path.name: path.read_text() for path in ATTACKS.glob("*.py")})


Work = tuple[str, list[str]]  # a function, and the attacks of one task of it


@dataclass
class Told:
    """One ended task, and what its attacks said."""

    task: dict[str, Any]
    reports: dict[str, list[dict[str, Any]]]
    log: str

    @property
    def end(self) -> tuple[str, str]:
        return self.task["state"], (self.task["error"] or {}).get("code", "")

    @property
    def sentence(self) -> str:
        return str((self.task["error"] or {}).get("message", ""))

    @property
    def was_started_ahead(self) -> bool:
        """As it said: its first process is older than its inputs, by more than its clock's step."""
        return any(
            float(line.split()[1]) > CLOCK_STEP_SECONDS for line in self.log.splitlines() if line.startswith("WAITED ")
        )


@dataclass
class Attacked:
    """A platform with the package deployed, as two companies see it."""

    running: Running
    backend: Backend
    client: httpx2.Client
    rival: httpx2.Client
    host: "Host"
    engine: str = ""  # the address of the Docker daemon, where there is one
    told: dict[str, Told] = field(default_factory=dict)
    parts: dict[str, list[int]] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)

    def request(self, function: str, attacks: Iterable[str], **more: Any) -> dict[str, Any]:
        kind = "batch" if function == "many" else "alone"
        world = {**self.host.world(self.running, self.backend), "kind": kind, "disk_mb": PROFILES[function][0], **more}
        names = list(attacks)
        inputs = {"cases": names, "world": world} if kind == "batch" else {"case": names[0], "world": world}
        return {"package": "attacks", "function": function, "inputs": inputs, "name": names[0]}

    def submit(self, requests: list[dict[str, Any]], client: httpx2.Client | None = None) -> list[str]:
        answer = (client or self.client).post("/tasks/bulk", json={"tasks": requests})
        assert answer.status_code == 200, answer.text
        assert answer.json()["refused"] == 0, answer.text
        return [result["task"]["id"] for result in answer.json()["results"]]

    def ended(self, task_id: str, client: httpx2.Client | None = None) -> Told:
        asked = client or self.client
        for _ in range(10):
            task = asked.get(f"/tasks/{task_id}", params={"wait": 30}).json()
            if task["completed_at"] is not None:
                break
        else:
            raise AssertionError(f"{task_id} has not ended: {task}")
        entries = asked.get(f"/tasks/{task_id}/logs", params={"limit": 5000}).json()["entries"]
        log = "".join(entry["text"] for entry in entries)
        reports = _returned(task) or {task["name"]: _printed(log)}
        return Told(task, reports, log)

    def run(self, function: str, *attacks: str, client: httpx2.Client | None = None, **more: Any) -> Told:
        (task_id,) = self.submit([self.request(function, attacks, **more)], client)
        return self.ended(task_id, client)

    def run_all(self, cases: Iterable[Case]) -> None:
        """Submit everything at once: cases that cannot disturb each other share a task, the others have their own.

        Where one sandbox of each function is kept, one task of each function at once.
        """
        chosen = list(cases)
        shared = [case.attack for case in chosen if case.function == "many"]
        groups = [shared[start : start + CASES_OF_A_BATCH] for start in range(0, len(shared), CASES_OF_A_BATCH)]
        work = [("many", group) for group in groups] + [
            (case.function, [case.attack]) for case in chosen if case.function != "many"
        ]
        for part in _rounds(work) if self.backend.keeps_one else [work]:
            if self.backend.keeps_one:
                threading.Event().wait(AHEAD_SECONDS)  # the next ones are to be served by what waits
            ids = self.submit([self.request(function, group) for function, group in part]) if part else []
            for (function, group), task_id in zip(part, ids, strict=True):
                told = self.ended(task_id)
                self.told.update({key_of(function, attack): told for attack in group})

    def left(self) -> set[str]:
        """What is on the machine that was not there before.

        Warm sandboxes stay; of their calls only the next worker and its init may.
        """
        found = traces(self.running) - self.before
        if not self.backend.is_warm:
            return found
        pids = {int(line.split()[1]) for line in found if line.startswith("process")}
        calls = Counter(space for pid in pids if (space := call_namespace(pid)) is not None)
        return {line for line in found if not line.startswith("process") and " groups below " not in line} | {
            f"{count} processes in one call's namespace" for count in calls.values() if count > 2
        }

    def told_of(self, case: Case) -> Told:
        """What its task told; a case that the run did not choose goes now."""
        if key_of(case.function, case.attack) not in self.told:
            self.run_all([case])
        return self.told[key_of(case.function, case.attack)]


def _rounds(work: Sequence[Work]) -> Iterator[list[Work]]:
    """Each function's first task, then each one's second."""
    by_function: dict[str, list[Work]] = {}
    for function, attacks in work:
        by_function.setdefault(function, []).append((function, attacks))
    for together in zip_longest(*by_function.values()):
        yield [chosen for chosen in together if chosen is not None]


def call_namespace(pid: int) -> int | None:
    """The PID namespace of a call in a warm sandbox, which lies below the sandbox's own; None for other processes."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        depth = next(len(line.split()) - 1 for line in status.splitlines() if line.startswith("NSpid"))
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino if depth >= 3 else None
    return None


def key_of(function: str, attack: str) -> str:
    return f"{'many' if function == 'many' else 'one'} {attack}"


def _returned(task: Mapping[str, Any]) -> dict[str, Any]:
    try:
        reports = json.loads((task["result"] or {}).get("reports") or "{}")
    except ValueError:
        return {}
    return reports if isinstance(reports, dict) else {}


def _printed(log: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("TRY ") for line in log.splitlines() if line.startswith("TRY ")]
    return [json.loads(line) for line in lines if line.endswith("}")]


@dataclass
class Host:
    """What the test has put on the host for attacks to find, and the ends at which it would notice."""

    canary: Path
    listener: socket.socket
    abstract: list[socket.socket]

    def world(self, running: Running, backend: Backend) -> Mapping[str, Any]:
        layout, data = Layout(running.data), running.data
        parts = running.parts
        port = int(running.url.rpartition(":")[2])
        return {
            "paths": [
                str(path)
                for path in (
                    self.canary,
                    layout.connection,
                    layout.secrets,
                    layout.issuer_key,
                    layout.postgres,
                    data / "logs",
                    data,
                )
            ],
            "sockets": [
                str(path)
                for path in (layout.spawner_socket, layout.postgres_run / ".s.PGSQL.5432", layout.valkey / "s")
            ],
            "ports": [port, 5432, 6379],
            "listening": [self.listener.getsockname()[1]],
            "abstract": [ABSTRACT],
            "pids": sorted({os.getpid(), *(pids[0] for pids in parts.values() if pids)} - {0, 1})[:6],
            "hostname": socket.gethostname(),
            "namespaces": {name: Path(f"/proc/self/ns/{name}").stat().st_ino for name in backend.namespaces},
            "names_of_others": ["rivals", "demo"],
        }

    def noticed(self) -> list[str]:
        """Who connected to the host's sockets."""
        found = []
        for item in (self.listener, *self.abstract):
            try:
                item.accept()[0].close()
            except (BlockingIOError, OSError):
                continue
            found.append(str(item.getsockname()))
        return found


@contextmanager
def host() -> Iterator[Host]:
    with ExitStack() as stack:
        canary = Path("/tmp") / f"mecapy-canary-{os.getpid()}"
        canary.write_text(CANARY)
        stack.callback(canary.unlink)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{ABSTRACT}")
        abstract.listen()
        abstract.setblocking(False)
        yield Host(canary, listener, [abstract])


@contextmanager
def attacked(backend: Backend, chosen: Sequence[Case]) -> Iterator[Attacked]:
    """A platform of its own with the attacks deployed for two companies; every chosen case has run."""
    content = package(is_warm=backend.is_warm)
    with ExitStack() as stack:
        made = stack.enter_context(host())
        settings = stack.enter_context(backend.settings())
        running = stack.enter_context(platform({**SETTINGS, **settings}))
        client = stack.enter_context(running.client())
        rival = stack.enter_context(running.client(running.token("root", "rivals"), "rivals"))
        deploy(client, content, organization="demo")
        deploy(rival, content, organization="rivals")
        one = Attacked(running, backend, client, rival, made, settings.get("MECAPY_DOCKER_HOST", ""))
        first = one.run("many", "descriptors:standard_streams")
        assert first.end == ("completed", ""), (first.sentence, first.log)
        one.parts, one.before = running.parts, traces(running)
        one.run_all(chosen)
        yield one
