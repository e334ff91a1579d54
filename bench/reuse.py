"""Calls that share a process (`reuse`), beside warm ones and raw Celery, which isolates nobody and keeps nothing.

Usage: python -m bench.reuse [--calls N]
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery

from bench import figures
from bench.celery_baseline import celery_worker
from bench.processes import machine
from bench.queue import CONNECTIONS, run, timed
from bench.raw_client import RawApi
from bench.running import Api, Platform, request, started

Say = Callable[..., None]
ROUNDS = 3
MANIFEST = """
version: "1"
package: {name: reused, version: 1.0.0}
runtime: {kind: python, version: "%s"}
functions:
  answer:
    handler: nonce:answer
    inputs: {nonce: Integer}
    outputs: {answer: Integer, namespace: String, number: Integer}
    resources: {tier: nano, timeout: 5}
platform:
  functions:
    answer: {reuse: 1000}
"""
# The kernel gives the inode of a namespace that has ended to the next: with the moment of loading the pair is unique.
CODE = """import os
import time

LOADED = time.monotonic_ns()
CALLS = []


def answer(nonce):
    CALLS.append(nonce)
    namespace = f"{os.stat('/proc/self/ns/pid').st_ino} {LOADED}"
    return {"answer": nonce * 3 + 1, "namespace": namespace, "number": len(CALLS)}
"""


class Seen:
    """In which PID namespaces calls were, by their own word, and which number each had there."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[int]] = defaultdict(list)

    def run(self, api: RawApi, nonce: int) -> None:
        task: dict[str, Any] = api.call("POST", "/tasks?wait=30", request(nonce) | {"package": "reused"})
        if task["state"] != "completed" or task["result"]["answer"] != nonce * 3 + 1:
            raise RuntimeError(f"wrong answer: {task}")
        self.numbers[task["result"]["namespace"]].append(task["result"]["number"])

    def said(self) -> str:
        calls = sum(map(len, self.numbers.values()))
        most = max(max(numbers) for numbers in self.numbers.values())
        names = ", ".join(name.split()[0] for name in list(self.numbers)[:4])
        return (
            f"  {calls} calls in {len(self.numbers)} processes (PID namespaces {names} ..), highest call number {most}"
        )


def report(say: Say, platform: Platform, tokens: Sequence[str], celery: Celery, count: int) -> None:
    for token, organization in zip(tokens, ("first", "second"), strict=True):
        Api(platform.ready["url"], token).deploy(organization, MANIFEST, CODE)
    clients = [RawApi(platform.ready["url"], token) for token in tokens]
    seen = Seen()
    times: dict[str, list[float]] = defaultdict(list)
    for nonce in range(-30, count):
        client = clients[nonce % 2]
        times["reuse"].append(timed(lambda client=client, nonce=nonce: seen.run(client, nonce)))
        times["warm"].append(timed(lambda client=client, nonce=nonce: run(client, nonce)))
        times["raw Celery"].append(timed(lambda nonce=nonce: celery.send_task("answer", (nonce,)).get(interval=0.0005)))
    for name, found in times.items():
        say(figures.line(f"one call, submit to result ({name})", found[30:]))
    say(figures.said("ratio reuse / raw Celery", figures.ratio(times["reuse"][30:], times["raw Celery"][30:]), 1.3))
    say(figures.said("ratio reuse / warm", figures.ratio(times["reuse"][30:], times["warm"][30:])))
    say(seen.said())
    rates(say, platform, tokens, celery)


def rates(say: Say, platform: Platform, tokens: Sequence[str], celery: Celery, count: int = 1000) -> None:
    """Over eight connections, each waiting for its answer before the next call; in turns."""
    connections = [RawApi(platform.ready["url"], tokens[number % 2]) for number in range(CONNECTIONS)]
    seen = Seen()
    ways: dict[str, Callable[[int, int], None]] = {
        "reuse": lambda number, nonce: seen.run(connections[number], nonce),
        "warm": lambda number, nonce: run(connections[number], nonce),
        "raw Celery": lambda _number, nonce: celery.send_task("answer", (nonce,)).get(interval=0.0005),
    }
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(lambda number, way=way: _ask(way, number, count), range(CONNECTIONS)))
            found[name].append(count / (time.perf_counter() - began))
    for name, rate in found.items():
        told = ", ".join(f"{item:.0f}" for item in rate)
        say(f"burst of {count} over {CONNECTIONS} connections ({name}): {told} tasks/s")
    ratios = sorted(ours / theirs for ours, theirs in zip(found["reuse"], found["raw Celery"], strict=True))
    say(f"rate of reuse / raw Celery: {ratios[len(ratios) // 2]:.2f}   target >= 1.0")
    say(seen.said())


def _ask(way: Callable[[int, int], None], number: int, count: int) -> None:
    for nonce in range(number, count, CONNECTIONS):
        way(number, nonce)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    asked = parser.parse_args()
    print(machine(), flush=True)
    with started() as platform, celery_worker() as (celery, _pid):
        tokens = [platform.token(f"engineer-{name}", name) for name in ("first", "second")]
        for token, name in zip(tokens, ("first", "second"), strict=True):
            Api(platform.ready["url"], token).deploy(name)
        report(lambda line="": print(line, flush=True), platform, tokens, celery, asked.calls)
    return 0


if __name__ == "__main__":
    sys.exit(main())
