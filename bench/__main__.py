"""Measures the platform beside raw Celery in one run and writes bench/results/latest.txt. Usage: python -m bench [--quick]"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from bench import figures
from bench.celery_baseline import SETTINGS, celery_worker
from bench.processes import machine, used_by
from bench.running import Api, Platform, check, request, started
from bench.stored import add_finished_tasks

RESULTS = Path(__file__).parent / "results" / "latest.txt"
GAP_SECONDS = 0.012


class Report:
    """Lines for the console and for the file."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    scale = 10 if parser.parse_args().quick else 1
    report = Report()
    report.say(machine())
    report.say("Cold sandbox (bubblewrap) for every task, two organizations, durable PostgreSQL; every answer is checked.")
    report.say(f"Baseline: raw Celery {SETTINGS}; it isolates nothing and keeps nothing.")
    report.say()
    with started() as platform, celery_worker() as (celery, celery_pid):
        idle(report, platform)
        clients = deploying(report, platform)
        one_by_one(report, clients, celery, 200 // scale)
        burst(report, platform, clients, (celery, celery_pid), 1000 // scale)
    stored(report, 100_000 // scale, 400 // scale)
    RESULTS.write_text("\n".join(report.lines) + "\n", "utf-8")
    return 0


def idle(report: Report, platform: Platform) -> None:
    threading.Event().wait(8)
    before = used_by(platform.process.pid)
    threading.Event().wait(5)
    after = used_by(platform.process.pid)
    report.say(f"{'mecapy up: ready after':<44} {platform.seconds_to_ready:6.1f} s   target <= 8")
    report.say(f"{'idle: proportional memory (PSS)':<44} {after.pss_mib:6.0f} MiB in {after.processes} processes   target <= 600")
    report.say(f"{'idle: CPU':<44} {(after.cpu_seconds - before.cpu_seconds) / 5 * 100:6.1f} % of one core")


def deploying(report: Report, platform: Platform) -> list[Api]:
    clients = []
    for organization in ("first", "second"):
        api = Api(platform.ready["url"], platform.token(f"engineer-{organization}", organization))
        seconds = api.deploy(organization)
        report.say(f"{f'deploy until ready ({organization} organization)':<44} {seconds:6.2f} s")
        clients.append(api)
    report.say(f"{'after deploying: PSS':<44} {used_by(platform.process.pid).pss_mib:6.0f} MiB")
    return clients


def one_by_one(report: Report, clients: list[Api], celery: Celery, count: int) -> None:
    """Alternately one call of ours and one of the baseline, with a gap, after a few uncounted ones."""
    ours: list[float] = []
    theirs: list[float] = []
    namespaces: set[str] = set()
    for nonce in range(-5, count):
        ours.append(timed(lambda nonce=nonce: check(clients[nonce % 2].call("POST", "/tasks?wait=30", request(nonce)), nonce, namespaces)))
        theirs.append(timed(lambda nonce=nonce: celery.send_task("answer", (nonce,)).get(interval=0.0005)))
    if len(namespaces) != count + 5:
        raise RuntimeError("two tasks shared a PID namespace")
    report.say()
    report.say(figures.line("one call, submit to result (ours, cold)", ours[5:]))
    report.say(figures.line("one call, submit to result (raw Celery)", theirs[5:]))
    report.say(figures.said("ratio ours / raw Celery", figures.ratio(ours[5:], theirs[5:])))
    report.say(f"{'cold call p50':<44} {figures.percentile(ours[5:], 0.5) * 1000:6.1f} ms  target <= 150")


def timed(call: Callable[[], Any]) -> float:
    threading.Event().wait(GAP_SECONDS)
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def burst(report: Report, platform: Platform, clients: list[Api], baseline: tuple[Celery, int], count: int) -> None:
    """All at once: tasks a second, and CPU over all processes."""
    with measured(platform.process.pid) as ours:
        ids = []
        for number, api in enumerate(clients):
            nonces = range(number, count, 2)
            answer = api.call("POST", "/tasks/bulk", {"tasks": [request(nonce) for nonce in nonces]})
            ids += [(api, result["task"]["id"], nonce) for result, nonce in zip(answer["results"], nonces, strict=True)]
        namespaces: set[str] = set()
        for api, task_id, nonce in ids:
            check(api.call("GET", f"/tasks/{task_id}?wait=60"), nonce, namespaces)
    celery, celery_pid = baseline
    with measured(celery_pid) as theirs:
        pending = [celery.send_task("answer", (nonce,)) for nonce in range(count)]
        for result in pending:
            result.get(timeout=60, interval=0.001)
    report.say()
    for name, (seconds, cpu_seconds) in (("ours, cold", ours), ("raw Celery, worker alone", theirs)):
        report.say(f"{f'burst of {count} ({name})':<44} {count / seconds:6.0f} tasks/s   {cpu_seconds / count * 1000:6.1f} CPU ms a task")
    report.say(f"{'ratio of rates ours / raw Celery':<44} {theirs[0] / ours[0]:6.3f}x")


@contextmanager
def measured(pid: int) -> Iterator[list[float]]:
    """Fills [wall seconds, CPU seconds of the tree]."""
    found: list[float] = []
    before, began = used_by(pid), time.perf_counter()
    yield found
    found += [time.perf_counter() - began, used_by(pid).cpu_seconds - before.cpu_seconds]


def stored(report: Report, rows: int, count: int) -> None:
    """Two platforms, one empty, one with many finished tasks; their workers are paused, submits alternate."""
    with started() as full, started() as empty:
        apis = {}
        for name, platform in (("full", full), ("empty", empty)):
            api = Api(platform.ready["url"], platform.token("engineer", "first"))
            api.deploy("first")
            apis[name] = api
        add_finished_tasks(full.data, rows)
        for platform in (full, empty):
            platform.signal("worker", signal.SIGSTOP)
        times: dict[str, list[float]] = {"full": [], "empty": []}
        for nonce in range(count):
            for name in ("full", "empty") if nonce % 2 else ("empty", "full"):
                times[name].append(timed(lambda name=name, nonce=nonce: apis[name].call("POST", "/tasks", request(nonce))))
        for platform in (full, empty):
            platform.signal("worker", signal.SIGCONT)
    report.say()
    report.say(figures.line("submit, empty database", times["empty"]))
    report.say(figures.line(f"submit, {rows} finished tasks stored", times["full"]))
    report.say(figures.said("ratio full / empty", figures.ratio(times["full"], times["empty"]), 1.2))


if __name__ == "__main__":
    sys.exit(main())
