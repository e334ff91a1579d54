"""Measures the platform beside raw Celery in one run and writes bench/results/latest.txt.

Usage: python -m bench [--quick] [--base COMMIT]

With a base it compares the two commits instead, see compare.py.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from celery import Celery

from bench import compare, docker_cold, figures, queue, reuse, warm_memory
from bench.celery_baseline import SETTINGS, celery_worker
from bench.processes import machine, used_by
from bench.raw_client import RawApi
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
    parser.add_argument("--base", metavar="COMMIT", help="compare this tree with that commit, and do nothing else")
    asked = parser.parse_args()
    scale = 10 if asked.quick else 1
    report = Report()
    if asked.base:
        target = compare.report(report.say, asked.base, scale)
        target.write_text("\n".join(report.lines) + "\n", "utf-8")
        return 0
    report.say(machine())
    report.say(
        "Every task isolated as in tests/security, two organizations, durable PostgreSQL; every answer is checked."
    )
    report.say(f"Baseline: raw Celery {SETTINGS}; it isolates nothing and keeps nothing.")
    report.say()
    with started() as platform, celery_worker() as baseline:
        idle(report, platform)
        tokens = deploying(report, platform)
        cold(report, platform, tokens, baseline[0], 200 // scale)
        clients = [RawApi(platform.ready["url"], token) for token in tokens]
        report.say()
        queue.one_by_one(report.say, platform, clients, baseline, 1000 // scale)
        report.say("  targets: ratio <= 1.5, p99 <= 15 ms")
        report.say()
        rate = queue.burst(report.say, platform, tokens, baseline, 1000)
        report.say("  targets: 0.5 of raw Celery's rate or more, 5.5 CPU ms a task or less")
        report.say()
        reuse.report(report.say, platform, tokens, baseline[0], 1000 // scale)
        report.say("  targets: ratio <= 1.3, rate >= 1.0 of raw Celery's; calls of one version share a process")
        report.say()
        queue.sustained(report.say, platform, tokens, rate / 2, 120.0 / scale)
        report.say("  target: p99 <= 50 ms at half of the highest rate")
        report.say(f"{'after that: PSS of the whole platform':<44} {used_by(platform.process.pid).pss_mib:6.0f} MiB")
        warm_memory.report(report.say)
    report.say()
    docker_cold.report(report.say, 30 // scale)
    stored(report, 100_000 // scale, 400 // scale)
    RESULTS.write_text("\n".join(report.lines) + "\n", "utf-8")
    return 0


def idle(report: Report, platform: Platform) -> None:
    threading.Event().wait(8)
    before = used_by(platform.process.pid)
    threading.Event().wait(5)
    after = used_by(platform.process.pid)
    report.say(f"{'mecapy up: ready after':<44} {platform.seconds_to_ready:6.1f} s   target <= 8")
    report.say(
        f"{'idle: proportional memory (PSS)':<44} {after.pss_mib:6.0f} MiB in {after.processes} processes   target <= "
        f"600"
    )
    report.say(f"{'idle: CPU':<44} {(after.cpu_seconds - before.cpu_seconds) / 5 * 100:6.1f} % of one core")


def deploying(report: Report, platform: Platform) -> list[str]:
    tokens = []
    for organization in ("first", "second"):
        tokens.append(platform.token(f"engineer-{organization}", organization))
        seconds = Api(platform.ready["url"], tokens[-1]).deploy(organization)
        report.say(f"{f'deploy until ready ({organization} organization)':<44} {seconds:6.2f} s")
    report.say(f"{'after deploying: PSS':<44} {used_by(platform.process.pid).pss_mib:6.0f} MiB")
    return tokens


def cold(report: Report, platform: Platform, tokens: Sequence[str], celery: Celery, count: int) -> None:
    """Alternately one call that starts cold and one of the baseline, with a gap, after a few uncounted ones."""
    clients = [RawApi(platform.ready["url"], token) for token in tokens]
    ours: list[float] = []
    theirs: list[float] = []
    namespaces: set[str] = set()
    answers: list[dict[str, Any]] = []
    for nonce in range(-5, count):
        asked = request(nonce) | {"function": "cold"}
        client = clients[nonce % 2]
        ours.append(
            timed(lambda asked=asked, client=client: answers.append(client.call("POST", "/tasks?wait=30", asked)))
        )
        check(answers.pop(), nonce, namespaces)
        theirs.append(timed(lambda nonce=nonce: celery.send_task("answer", (nonce,)).get(interval=0.0005)))
    if len(namespaces) != count + 5:
        raise RuntimeError("two tasks shared a PID namespace")
    report.say()
    report.say(figures.line("one call, submit to result (ours, cold)", ours[5:]))
    report.say(figures.line("one call, submit to result (raw Celery)", theirs[5:]))
    report.say(f"{'cold call p50':<44} {figures.percentile(ours[5:], 0.5) * 1000:6.1f} ms  target <= 100")


def timed(call: Callable[[], Any]) -> float:
    threading.Event().wait(GAP_SECONDS)
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


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
                times[name].append(
                    timed(lambda name=name, nonce=nonce: apis[name].call("POST", "/tasks", request(nonce)))
                )
        for platform in (full, empty):
            platform.signal("worker", signal.SIGCONT)
    report.say()
    report.say(figures.line("submit, empty database", times["empty"]))
    report.say(figures.line(f"submit, {rows} finished tasks stored", times["full"]))
    report.say(figures.said("ratio full / empty", figures.ratio(times["full"], times["empty"]), 1.2))


if __name__ == "__main__":
    sys.exit(main())
