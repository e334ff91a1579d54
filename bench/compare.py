"""This tree beside another commit and raw Celery, all alive at once, in interleaved rounds of one call each.

Both platforms are driven through their command line and their HTTP API alone, by the code of this tree.

Usage: python -m bench --base COMMIT [--quick]
"""

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery

from bench import figures
from bench.base_commit import built, resolve
from bench.celery_baseline import celery_worker
from bench.counters import counted
from bench.flush import SLOW_SECONDS, flush_seconds, without
from bench.processes import machine, used_by
from bench.queue import clock, run, timed, together
from bench.raw_client import RawApi
from bench.running import Api, Platform, check, request, started

CONNECTIONS = 8
BURST = 400
UNCOUNTED = 20


@dataclass
class Side:
    """A platform with its times."""

    name: str
    platform: Platform
    tokens: list[str] = field(default_factory=list)
    clients: list[RawApi] = field(default_factory=list)
    flushes: float = 0.0  # a warm call
    rates: list[float] = field(default_factory=list)

    def deploy(self) -> float:
        """Two organizations; the seconds until the first package was ready."""
        took = []
        for organization in ("first", "second"):
            self.tokens.append(self.platform.token(f"engineer-{organization}", organization))
            took.append(Api(self.platform.ready["url"], self.tokens[-1]).deploy(organization))
            self.clients.append(RawApi(self.platform.ready["url"], self.tokens[-1]))
        return took[0]

    def call(self, nonce: int, function: str = "answer") -> float:
        answers: list[dict[str, Any]] = []
        asked = request(nonce) | {"function": function}
        took = timed(lambda: answers.append(self.clients[nonce % 2].call("POST", "/tasks?wait=30", asked)))
        check(answers[0], nonce, set())
        return took


def report(say: Callable[..., None], name: str, scale: int) -> Path:
    """Say how this tree and the commit compare; the file for what was said."""
    commit = resolve(name)
    mecapy = built(commit)
    say(machine())
    say(f"This tree, {commit[:10]} and raw Celery, in interleaved rounds; a ratio is judged by its whole interval.")
    with ExitStack() as stack:
        new = Side("this tree", stack.enter_context(started()))
        old = Side(commit[:10], stack.enter_context(started(mecapy=str(mecapy))))
        celery, celery_pid = stack.enter_context(celery_worker())
        sides = (new, old)
        for side in sides:
            seconds = side.deploy()
            used = used_by(side.platform.process.pid)
            say(
                f"{side.name:<12} ready after {side.platform.seconds_to_ready:.1f} s, first deploy {seconds:.1f} s, "
                f"then {used.pss_mib:.0f} MiB in {used.processes} processes"
            )
        flush = flush_seconds(new.platform.data)
        say(f"one flush of this disk: {flush * 1000:.2f} ms (above {SLOW_SECONDS * 1000:.1f}, judged without flushes)")
        _calls(say, sides, celery, 600 // scale, "answer", flush)
        _calls(say, sides, celery, 100 // scale, "cold", flush)
        _bursts(say, sides, celery, celery_pid, max(2, 8 // scale))
    return Path(__file__).parent / "results" / f"beside-{commit[:10]}.txt"


def _calls(
    say: Callable[..., None], sides: tuple[Side, Side], celery: Celery, count: int, function: str, flush: float
) -> None:
    """One call of each of the three, in a new order each round."""
    new, old = sides

    def baseline(nonce: int) -> float:
        return timed(lambda: celery.send_task("answer", (nonce,)).get(interval=0.0005))

    asks: dict[str, Callable[[int], float]] = {
        new.name: lambda nonce: new.call(nonce, function),
        old.name: lambda nonce: old.call(nonce, function),
        "raw Celery": baseline,
    }
    took: dict[str, list[float]] = {name: [] for name in asks}
    for nonce in range(UNCOUNTED):
        for ask in asks.values():
            ask(nonce)
    with counted(new.platform.data) as in_new, counted(old.platform.data) as in_old:
        for nonce in range(UNCOUNTED, UNCOUNTED + count):
            for name in random.sample(list(asks), len(asks)):
                took[name].append(asks[name](nonce))
    new.flushes, old.flushes = (found.get("wal_flushes", 0.0) / count for found in (in_new, in_old))
    say()
    kind = "warm" if function == "answer" else function
    for name, seconds in took.items():
        say(figures.line(f"{kind} call, submit to result ({name})", seconds))
    say(f"flushes a call: {new.name} {new.flushes:.2f}, {old.name} {old.flushes:.2f}, raw Celery none")
    kept = {side.name: without(took[side.name], side.flushes, flush) for side in sides} | {
        "raw Celery": took["raw Celery"]
    }
    for ours, theirs in ((new.name, old.name), (new.name, "raw Celery"), (old.name, "raw Celery")):
        is_pair = theirs == old.name
        say(figures.said(f"{ours} / {theirs}", figures.ratio(took[ours], took[theirs]), 1.0 if is_pair else None))
        say(figures.said("  without flushes", figures.ratio(kept[ours], kept[theirs]), 1.0 if is_pair else None))


def _bursts(say: Callable[..., None], sides: tuple[Side, Side], celery: Celery, celery_pid: int, rounds: int) -> None:
    rates: dict[str, list[float]] = {side.name: [] for side in sides} | {"raw Celery": []}
    say()
    for _ in range(rounds):
        for name in random.sample(list(rates), len(rates)):
            side = next((item for item in sides if item.name == name), None)
            rates[name].append(
                together(
                    say, name, _ask(side, celery), celery_pid if side is None else side.platform.process.pid, BURST
                )
            )
    new, old = sides
    say(figures.said(f"rate of a burst, {old.name} / {new.name}", figures.ratio(rates[old.name], rates[new.name]), 1.0))
    for side in sides:
        say(
            figures.said(
                f"rate of a burst, {side.name} / raw Celery", figures.ratio(rates[side.name], rates["raw Celery"])
            )
        )


def _ask(side: Side | None, celery: Celery) -> Callable[[int], list[float]]:
    """The calls of one of the connections, each waiting for its answer before the next."""
    apis = [] if side is None else [RawApi(side.platform.ready["url"], side.tokens[n % 2]) for n in range(CONNECTIONS)]

    def ask(number: int) -> list[float]:
        took = []
        for nonce in range(number, BURST, CONNECTIONS):
            if side is None:
                took.append(clock(lambda nonce=nonce: celery.send_task("answer", (nonce,)).get(interval=0.0005)))
            else:
                took.append(clock(lambda nonce=nonce: run(apis[number], nonce)))
        return took

    return ask
