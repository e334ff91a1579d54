"""A client that never gives up.

Unique inputs, repeats under the same key, and keeps its own list of what was accepted.
"""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import httpx2

NORMAL_FUNCTIONS = (
    30  # a function that has run 20 times may move to a shorter lane; many functions keep tasks in theirs
)
LONG_FUNCTIONS = 15
REPEAT_FOR_SECONDS = 120.0
BULK = 25

MANIFEST = """
version: "1"
package: {name: faults, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
resources: {tier: nano}
platform:
  functions:
    failing: {retries: {max: 1, backoff_seconds: 0.1, on: [user_error]}}
    quick: {retries: {max: 5, backoff_seconds: 0.1, on: [timeout]}}  # 5 s is short for a machine that recovers
functions:
"""
FUNCTION = """  {name}:
    handler: faults:{handler}
    inputs: {{nonce: Integer, seconds: Float}}
    outputs: {{value: Integer{file}}}
    resources: {{tier: nano, timeout: {timeout}}}
"""
CODE = """
from time import sleep
from pathlib import Path

def square(nonce, seconds):
    sleep(seconds)
    print(f"nonce {nonce}")
    return {"value": nonce * nonce + 7}

def report(nonce, seconds):
    answer = square(nonce, seconds)
    Path("/workspace/out/files/report.txt").write_text(str(nonce))
    return answer

def fail(nonce, seconds):
    sleep(seconds)
    raise ValueError(f"nonce {nonce}")
"""


def manifest() -> str:
    functions = [
        FUNCTION.format(name="quick", handler="square", file="", timeout=5),
        *(
            FUNCTION.format(name=f"normal_{number}", handler="report", file=', report: "File[txt]"', timeout=60)
            for number in range(NORMAL_FUNCTIONS)
        ),
        FUNCTION.format(name="failing", handler="fail", file="", timeout=60),
        *(
            FUNCTION.format(name=f"long_{number}", handler="square", file="", timeout=600)
            for number in range(LONG_FUNCTIONS)
        ),
    ]
    return MANIFEST + "".join(functions)


def expected(nonce: int) -> int:
    """What every function returns for a nonce; written down here again, not imported."""
    return nonce * nonce + 7


@dataclass(frozen=True)
class Accepted:
    """One task as its client knows it."""

    task_id: str
    nonce: int
    function: str
    organization: str
    accepted_at: float  # seconds since the epoch


@dataclass
class Ledger:
    """What a client was promised. Thread-safe."""

    accepted: dict[str, Accepted] = field(default_factory=dict)
    repeats: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, one: Accepted) -> None:
        with self._lock:
            known = self.accepted.setdefault(one.task_id, one)
        assert known.nonce == one.nonce, "one task answers for two requests"

    def repeated(self) -> None:
        with self._lock:
            self.repeats += 1

    def ids(self) -> set[str]:
        with self._lock:
            return set(self.accepted)


class Submitter:
    """Submits for one organization, by bulk and one by one, from a thread of its own until it is told to stop."""

    def __init__(self, client: httpx2.Client, organization: str, ledger: Ledger, *, seed: int) -> None:
        self._client = client
        self._organization = organization
        self._ledger = ledger
        self._random = random.Random(seed)
        self._numbers = itertools.count(seed * 1_000_000 + 1)

    def submit(self, count: int) -> None:
        """Exactly `count` tasks, however often it takes to ask."""
        while count > 0:
            part = [self._request() for _ in range(min(BULK, count))]
            count -= len(part)
            if self._random.random() < 0.7:
                self._bulk(part)
            else:
                for request in part:
                    self._single(request)

    def close(self) -> None:
        self._client.close()

    def _request(self) -> dict[str, object]:
        kinds = (
            "quick",
            f"normal_{self._random.randrange(NORMAL_FUNCTIONS)}",
            "failing",
            f"long_{self._random.randrange(LONG_FUNCTIONS)}",
        )
        (function,) = self._random.choices(kinds, (45, 35, 5, 15))
        inputs = {"nonce": next(self._numbers), "seconds": round(self._random.choice((0.0, 0.0, 0.2, 0.5, 0.8)), 2)}
        return {"package": "faults", "function": function, "inputs": inputs}

    def _single(self, request: dict[str, object]) -> None:
        answer = self._post("/tasks", request, {"Idempotency-Key": str(uuid4())})
        self._accept(request, answer.json()["id"])

    def _bulk(self, requests: list[dict[str, object]]) -> None:
        waiting = [request | {"idempotency_key": str(uuid4())} for request in requests]
        verdicts = self._post("/tasks/bulk", {"tasks": waiting}, {}).json()["results"]
        assert len(verdicts) == len(requests)
        for request, verdict in zip(requests, verdicts, strict=True):
            assert verdict["task"] is not None, verdict
            self._accept(request, verdict["task"]["id"])

    def _accept(self, request: dict[str, object], task_id: str) -> None:
        inputs = request["inputs"]
        assert isinstance(inputs, dict)
        self._ledger.add(Accepted(task_id, inputs["nonce"], str(request["function"]), self._organization, time.time()))

    def _post(self, path: str, body: dict[str, object], headers: dict[str, str]) -> httpx2.Response:
        """Until it is answered with 2xx. An answer that is lost is asked for again under the same key."""
        deadline = time.monotonic() + REPEAT_FOR_SECONDS
        while True:
            try:
                answer = self._client.post(path, json=body, headers=headers)
                if answer.is_success:
                    return answer
                assert answer.status_code >= 500, answer.text
                problem = f"{answer.status_code} {answer.text}"
            except httpx2.TransportError as error:
                problem = repr(error)
            assert time.monotonic() < deadline, f"not accepted in {REPEAT_FOR_SECONDS:g} s: {problem}"
            self._ledger.repeated()
            threading.Event().wait(0.1)


@contextmanager
def in_background(submitters: list[Submitter], count: int) -> Iterator[None]:
    """Submit `count` tasks in all while the block runs; everything is accepted when it is left.

    A failure of a thread is raised here.
    """
    failures: list[BaseException] = []

    def run(submitter: Submitter) -> None:
        try:
            submitter.submit(count // len(submitters))
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(submitter,), daemon=True) for submitter in submitters]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(REPEAT_FOR_SECONDS + 30)
        assert not thread.is_alive(), "a submitter hangs"
    if failures:
        raise failures[0]
