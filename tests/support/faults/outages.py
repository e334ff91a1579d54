"""A part of the node that starts sandboxes is killed while the platform starts, or kept away for a while."""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import psutil
from sqlalchemy import text

from support.faults.platform import Faulty, settings_of
from support.platform.embedded_process import is_alive, wait_for
from support.platform.running_platform import launch

VICTIMS = {"spawner": "sandbox/spawner"}  # a part's name -> what its command line holds
KILLS_OF_A_START = 4
START_SECONDS = 6.0  # within so long a start takes its first tasks, on a slow machine too
UNCOUNTED = text("""
SELECT t.id::text AS id, t.parked, t.machine_failures,
    count(*) FILTER (WHERE a.error_code IN ('sandbox_lost', 'lost_machine', 'lease_lost', 'container_gone')) AS lost
FROM tasks t LEFT JOIN attempts a ON a.task_id = t.id GROUP BY t.id
""")


def kill_during_start(platform: Faulty, seed: int) -> None:
    """Everything dies; while it starts again, a part that starts sandboxes is killed at moments of the seed's."""
    chosen = random.Random(seed)
    moments = sorted(chosen.uniform(0.0, START_SECONDS) for _ in range(KILLS_OF_A_START))
    victims = [chosen.choice(sorted(VICTIMS)) for _ in moments]
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
        for moment, victim in zip(moments, victims, strict=True):
            wait_for(lambda moment=moment: time.monotonic() - began >= moment, "the moment of a kill")  # type: ignore[misc]
            kill_now(platform, victim)


def keep_away(platform: Faulty, victim: str, seconds: float) -> int:
    """Kill it whenever it is there, for so long. Returns how often."""
    killed = 0
    until = time.monotonic() + seconds
    with platform.recovering(f"{victim} away for {seconds:g} s"):

        def is_over() -> bool:
            nonlocal killed
            killed += kill_now(platform, victim)
            return time.monotonic() >= until

        wait_for(is_over, "the end of the outage", seconds + 10)
    return killed


def kill_now(platform: Faulty, victim: str) -> int:
    """How many processes of this name there were at this moment: none, before it is started."""
    found = list(_processes(platform.running.started.process.pid, VICTIMS[victim]))
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def counted_too_much(platform: Faulty) -> Sequence[str]:
    """Tasks that were parked, or to which more lost machines were counted than runs of theirs that were lost."""
    with platform.database.transaction() as session:
        rows = session.execute(UNCOUNTED).all()
    return [
        f"{row.id}: {row.machine_failures} counted, {row.lost} lost, parked {row.parked}"
        for row in rows
        if row.parked or row.machine_failures > row.lost
    ]


def _processes(launcher: int, part_of_command: str) -> Iterator[int]:
    """Children of the launcher itself: the part, not what it has started."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(launcher).children():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if any(part_of_command in argument for argument in process.cmdline()):
                    yield process.pid
