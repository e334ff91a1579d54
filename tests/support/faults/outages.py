"""What starts sandboxes is killed while the platform starts, or kept away for a while."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import psutil
from sqlalchemy import text

from support.backends.docker_daemon import TestDaemon
from support.faults.platform import Faulty, settings_of
from support.platform.embedded_process import is_alive, wait_for
from support.platform.running_platform import launch

PARTS = {"spawner": "sandbox/spawner", "broker": "docker.broker"}  # a part's name -> what its command line holds
MORE_KILLS = 2  # of a start, beside one of each victim
START_SECONDS = 6.0  # within so long a start takes its first tasks, on a slow machine too
BACK_SECONDS = 2.0  # within so long a victim that the platform does not start itself is started again
UNCOUNTED = text("""
SELECT t.id::text AS id, t.parked, t.machine_failures,
    count(*) FILTER (WHERE a.error_code IN ('sandbox_lost', 'lost_machine', 'lease_lost', 'container_gone')) AS lost
FROM tasks t LEFT JOIN attempts a ON a.task_id = t.id GROUP BY t.id
""")


class Victim(Protocol):
    """Something that must run so that sandboxes can start."""

    def kill(self, platform: Faulty) -> int:
        """How many processes it had at this moment: none, before it is started."""

    def bring_back(self) -> None:
        """Start it again; nothing to do where the platform does."""


@dataclass(frozen=True)
class Part:
    """A part of the platform, which its launcher starts again."""

    part_of_command: str

    def kill(self, platform: Faulty) -> int:
        found = list(_children(platform.running.started.process.pid, self.part_of_command))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def bring_back(self) -> None:
        pass


@dataclass(frozen=True)
class Engine:
    """The Docker daemon of the test, which its machine starts again."""

    daemon: TestDaemon

    def kill(self, platform: Faulty) -> int:
        del platform
        return self.daemon.kill()

    def bring_back(self) -> None:
        self.daemon.start()


def victims_with(daemon: TestDaemon) -> Mapping[str, Victim]:
    return {**{name: Part(words) for name, words in PARTS.items()}, "dockerd": Engine(daemon)}


def kill_during_start(platform: Faulty, victims: Mapping[str, Victim], seed: int) -> None:
    """Everything dies; while it starts again, each victim is killed at a moment of the seed's, some twice."""
    chosen = random.Random(seed)
    names = [*victims, *(chosen.choice(sorted(PARTS)) for _ in range(MORE_KILLS))]
    moments = sorted((chosen.uniform(0.0, START_SECONDS), name) for name in names)
    pause = chosen.uniform(0.0, BACK_SECONDS)
    running = platform.running
    old = running.parts
    with platform.recovering(f"start, seed {seed}"):
        running.started.process.kill()
        running.started.process.wait(10)
        wait_for(
            lambda: not any(is_alive(pid) for pids in old.values() for pid in pids),
            "every part died with the launcher",
        )
        running.started.ready_file.unlink(missing_ok=True)
        began = time.monotonic()
        running.started = launch(
            running.data, running.started.ready_file, settings_of(platform.faults) | platform.extra
        )
        with ThreadPoolExecutor() as pool:
            back = []
            for moment, name in moments:
                wait_for(lambda moment=moment: time.monotonic() - began >= moment, "the moment of a kill")  # type: ignore[misc]
                victims[name].kill(platform)
                if name not in PARTS:
                    back.append(pool.submit(_bring_back, victims[name], pause))
            for item in back:
                item.result()


def keep_away(platform: Faulty, victims: Mapping[str, Victim], seconds: float) -> Mapping[str, int]:
    """Kill each of them whenever it is there, for so long. Returns how often each was."""
    killed = dict.fromkeys(victims, 0)
    until = time.monotonic() + seconds
    with platform.recovering(f"{' and '.join(victims)} away for {seconds:g} s"):

        def is_over() -> bool:
            for name, victim in victims.items():
                killed[name] += victim.kill(platform)
            return time.monotonic() >= until

        wait_for(is_over, "the end of the outage", seconds + 10)
        for victim in victims.values():
            victim.bring_back()
    return killed


def counted_too_much(platform: Faulty) -> Sequence[str]:
    """Tasks that were parked, or to which more lost machines were counted than runs of theirs that were lost."""
    with platform.database.transaction() as session:
        rows = session.execute(UNCOUNTED).all()
    return [
        f"{row.id}: {row.machine_failures} counted, {row.lost} lost, parked {row.parked}"
        for row in rows
        if row.parked or row.machine_failures > row.lost
    ]


def durable_backends_used(platform: Faulty) -> set[str]:
    """Where attempts of so far ran that outlive their worker."""
    with platform.database.transaction() as session:
        return set(session.execute(text("SELECT DISTINCT backend FROM attempts WHERE reference IS NOT NULL")).scalars())


def _bring_back(victim: Victim, after_seconds: float) -> None:
    threading.Event().wait(after_seconds)
    victim.bring_back()


def _children(launcher: int, part_of_command: str) -> Iterator[int]:
    """Children of the launcher itself: the part, not what it has started."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(launcher).children():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if any(part_of_command in argument for argument in process.cmdline()):
                    yield process.pid
