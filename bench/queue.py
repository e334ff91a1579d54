"""Measures the queue without a sandbox, beside raw Celery, in interleaved pairs.

Usage: python -m bench.queue [--calls N] [--seconds S]
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from bench import figures
from bench.celery_baseline import celery_worker
from bench.counters import counted, lines
from bench.flush import SLOW_SECONDS, flush_seconds, without
from bench.processes import machine
from bench.raw_client import RawApi
from bench.running import Api, Platform, request, started

GAP_SECONDS = 0.012
CONNECTIONS = 8
RESULTS = Path(__file__).parent / "results" / "queue.txt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--burst", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.0, help="sustain half of the burst's rate for so long")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    parser.add_argument("--real", action="store_true", help="the real sandbox")
    asked = parser.parse_args()
    said: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        said.append(line)

    say(machine())
    with started(None if asked.real else "bench.queue_platform") as platform, celery_worker() as (celery, celery_pid):
        tokens = [platform.token(f"engineer-{name}", name) for name in ("first", "second")]
        for token, name in zip(tokens, ("first", "second"), strict=True):
            Api(platform.ready["url"], token).deploy(name)
        clients = [RawApi(platform.ready["url"], token) for token in tokens]
        one_by_one(say, platform, clients, (celery, celery_pid), asked.calls)
        rate = burst(say, platform, tokens, (celery, celery_pid), asked.burst)
        if asked.seconds:
            sustained(say, platform, tokens, rate / 2, asked.seconds)
    if asked.keep:
        RESULTS.write_text("\n".join(said) + "\n", "utf-8")
    return 0


def one_by_one(
    say: Callable[..., None], platform: Platform, clients: Sequence[RawApi], baseline: tuple[Celery, int], count: int
) -> None:
    celery, celery_pid = baseline
    ours: list[float] = []
    theirs: list[float] = []
    for nonce in range(30):
        run(clients[nonce % 2], nonce)
    idle_ours, idle_theirs = cpu_of(platform.process.pid), cpu_of(celery_pid)
    with counted(platform.data) as found:
        for nonce in range(count):
            ours.append(timed(lambda nonce=nonce: run(clients[nonce % 2], nonce)))
            theirs.append(timed(lambda nonce=nonce: celery.send_task("answer", (nonce,)).get(interval=0.0005)))
    say(figures.line("one call, submit to result (ours)", ours))
    say(figures.line("one call, submit to result (raw Celery)", theirs))
    say(figures.said("ratio ours / raw Celery", figures.ratio(ours, theirs)))
    flush, flushes = flush_seconds(platform.data), found.get("wal_flushes", 0.0) / count
    say(figures.said("  without flushes", figures.ratio(without(ours, flushes, flush), theirs)))
    judged = "this one" if flush > SLOW_SECONDS else "the one with them"
    say(f"  one flush of this disk takes {flush * 1000:.2f} ms, a call makes {flushes:.2f}; judged is {judged}")
    spent = [
        (cpu_of(pid) - before) / count * 1000
        for pid, before in ((platform.process.pid, idle_ours), (celery_pid, idle_theirs))
    ]
    say(f"CPU a task without the client, one by one: ours {spent[0]:.2f} ms, raw Celery {spent[1]:.2f} ms")
    for line in lines(found, count):
        say(line)


def burst(
    say: Callable[..., None], platform: Platform, tokens: Sequence[str], baseline: tuple[Celery, int], count: int
) -> float:
    """Over eight connections, each waiting for its answer before the next call; then the same of the baseline."""
    celery, celery_pid = baseline
    connections = [RawApi(platform.ready["url"], tokens[number % 2]) for number in range(CONNECTIONS)]

    def ask(number: int) -> list[float]:
        return [
            clock(lambda nonce=nonce: run(connections[number], nonce)) for nonce in range(number, count, CONNECTIONS)
        ]

    def ask_celery(number: int) -> list[float]:
        nonces = range(number, count, CONNECTIONS)
        return [
            clock(lambda nonce=nonce: celery.send_task("answer", (nonce,)).get(interval=0.0005)) for nonce in nonces
        ]

    rate = 0.0
    for _ in range(2):
        with counted(platform.data) as found:
            rate = together(say, "ours", ask, platform.process.pid, count)
        for line in lines(found, count):
            say(line)
        together(say, "raw Celery", ask_celery, celery_pid, count)
    return rate


def together(say: Callable[..., None], name: str, ask: Callable[[int], list[float]], pid: int, count: int) -> float:
    own = psutil.Process()
    before, own_before, began = cpu_of(pid), sum(own.cpu_times()[:2]), time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        times = [item for answered in pool.map(ask, range(CONNECTIONS)) for item in answered]
    seconds = time.perf_counter() - began
    server, client = cpu_of(pid) - before, sum(own.cpu_times()[:2]) - own_before
    say(figures.line(f"burst of {count} over {CONNECTIONS} connections ({name})", times))
    say(
        f"  {count / seconds:6.0f} tasks/s, CPU ms a task: {(server + client) / count * 1000:5.2f}, "
        f"of them {client / count * 1000:.2f} the client's"
    )
    return count / seconds


def sustained(say: Callable[..., None], platform: Platform, tokens: Sequence[str], rate: float, seconds: float) -> None:
    """Calls begin by the clock, whatever became of those before."""
    times: list[float] = []
    before = cpu_of(platform.process.pid)
    began = time.perf_counter()
    with ThreadPoolExecutor(4 * CONNECTIONS) as pool:
        local = threading.local()

        def ask(nonce: int, due: float) -> None:
            if not hasattr(local, "api"):
                local.api = RawApi(platform.ready["url"], tokens[nonce % 2])
            run(local.api, nonce)
            times.append(time.perf_counter() - due)

        for nonce in range(int(rate * seconds)):
            due = began + nonce / rate
            threading.Event().wait(max(0.0, due - time.perf_counter()))
            pool.submit(ask, nonce, due)
    say(figures.line(f"sustained {rate:.0f}/s for {seconds:.0f} s", times))
    spent = (cpu_of(platform.process.pid) - before) / len(times) * 1000
    say(f"  worst {max(times) * 1000:.1f} ms, CPU ms a task without the client: {spent:.2f}")


def run(api: RawApi, nonce: int) -> None:
    task: dict[str, Any] = api.call("POST", "/tasks?wait=30", request(nonce))
    if task["state"] != "completed" or task["result"]["answer"] != nonce * 3 + 1:
        raise RuntimeError(f"wrong answer: {task}")


def timed(call: Callable[[], Any]) -> float:
    threading.Event().wait(GAP_SECONDS)
    return clock(call)


def clock(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def cpu_of(pid: int) -> float:
    """CPU seconds of a tree, without the cost of asking for memory."""
    root = psutil.Process(pid)
    spent = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            spent += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return spent


if __name__ == "__main__":
    sys.exit(main())
