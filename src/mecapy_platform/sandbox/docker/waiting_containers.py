"""Containers started ahead: interpreter and guest are up and wait for one order.

Each serves one task and is gone with it.

One is kept for what ran lately, by organization, package, environment and limits; nothing of a task is in it before its
order comes.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.sandbox.base import SandboxSpec
from mecapy_platform.sandbox.docker.container_config import LABEL, ContainerProgram, make_order
from mecapy_platform.sandbox.docker.run import DockerRun
from mecapy_platform.sandbox.eviction import Held, choose_victim

CLAIM = "claim.json"  # in the run's folder: whose attempt a container serves that was started for nobody
IDLE_SECONDS = 60.0
MAKING_SECONDS = 2.0

Key = tuple[object, ...]


@dataclass(frozen=True)
class WaitingContainer:
    """A container that waits for its order."""

    run: DockerRun
    program: ContainerProgram
    folder: Path
    organization: str
    made_at: float = field(default_factory=time.monotonic)
    wished_at: float = field(default_factory=time.monotonic)


def key_of(spec: SandboxSpec) -> Key:
    """What must be equal for a container to serve a task: everything that was fixed when it was made."""
    return (spec.organization, spec.version, spec.package, spec.environment, spec.needs, spec.limits)


def may_wait(spec: SandboxSpec) -> bool:
    return (
        spec.is_warm
        and bool(spec.organization)
        and spec.image is None
        and spec.handler is not None
        and spec.mode.is_call
    )


class WarmContainers:
    """At most `most` of them, shared fairly between organizations. `make` starts one that waits."""

    def __init__(self, most: int, make: Callable[[SandboxSpec], WaitingContainer]) -> None:
        self._most = most
        self._make = make
        self._waiting: dict[Key, WaitingContainer] = {}
        self._wished: set[Key] = set()
        self._making: Key | None = None
        self._lock = threading.Condition()
        self._makers = ThreadPoolExecutor(1, thread_name_prefix="docker-warm")

    def take(self, spec: SandboxSpec) -> DockerRun | None:
        """Give the order to a container that waits for its like; None when there is none that takes it.

        One that is being made is waited for: it will be there before one that begins now.
        """
        key = key_of(spec)
        with self._lock:
            self._lock.wait_for(lambda: key in self._waiting or self._making != key, MAKING_SECONDS)
            found = self._waiting.pop(key, None)
        if found is None:
            return None
        if time.monotonic() - found.made_at < IDLE_SECONDS:
            with suppress(OSError):
                lay_inputs(spec.inputs, found.folder / "in")
                claim = {
                    f"{LABEL}.task": spec.task_id,
                    f"{LABEL}.attempt": str(spec.attempt),
                    f"{LABEL}.keep": "yes" if spec.keep else "no",
                }
                (found.folder / CLAIM).write_text(json.dumps(claim))
                if found.run.begin(make_order(spec, found.program, waits=False), keep=spec.keep):
                    return found.run
        found.run.close()
        return None

    def has(self, spec: SandboxSpec) -> bool:
        """Whether one waits for its like."""
        with self._lock:
            return key_of(spec) in self._waiting

    def wish(self, spec: SandboxSpec) -> None:
        """Have one ready for the next task of this kind; made in the background."""
        key = key_of(spec)
        with self._lock:
            if key in self._waiting:
                self._waiting[key] = replace(self._waiting[key], wished_at=time.monotonic())
                return
            if key in self._wished:
                return
            self._wished.add(key)
        with suppress(RuntimeError):  # closed meanwhile
            self._makers.submit(self._fulfil, key, spec)

    def _victim(self, organization: str, made: Key) -> Key:
        """As among zygotes: the organization that has most gives up the one it wished least lately.

        Without a choice, the newest goes.
        """
        held = [
            Held(key, item.organization, item.wished_at, is_busy=False)
            for key, item in self._waiting.items()
            if key != made
        ]
        return choose_victim(held, organization, time.monotonic()) or made

    def clear(self) -> None:
        """Throw away what waits now; the pool goes on."""
        with self._lock:
            left = list(self._waiting.values())
            self._waiting.clear()
        for item in left:
            item.run.close()

    def close(self) -> None:
        self._makers.shutdown(wait=True)
        self.clear()

    def _fulfil(self, key: Key, spec: SandboxSpec) -> None:
        gone: list[WaitingContainer] = []
        try:
            with self._lock:
                if len(self._waiting) >= self._most and self._victim(spec.organization, key) == key:
                    return  # nobody is to make room for it
                self._making = key
            made = self._make(replace(spec, task_id="warm", attempt=0, keep=False, write_inputs=None))
            with self._lock:
                self._waiting[key] = made
                while len(self._waiting) > self._most:
                    gone.append(self._waiting.pop(self._victim(spec.organization, key)))
        except (SandboxError, OSError):
            pass  # the next task starts cold, and says what is wrong
        finally:
            with self._lock:
                self._wished.discard(key)
                self._making = None
                self._lock.notify_all()
        for item in gone:
            item.run.close()


def lay_inputs(source: Path, target: Path) -> None:
    """The same files under the folder that the container sees already."""
    for path in source.rglob("*"):
        aim = target / path.relative_to(source)
        if path.is_dir():
            aim.mkdir(exist_ok=True)
            aim.chmod(0o755)
            continue
        try:
            os.link(path, aim, follow_symlinks=False)
        except OSError:
            shutil.copyfile(path, aim)
            aim.chmod(0o644)


def claimed_labels(folder: Path, labels: dict[str, str]) -> dict[str, str]:
    """A container's labels, and whose attempt it has come to serve since it was made."""
    try:
        return {**labels, **json.loads((folder / CLAIM).read_text())}
    except (OSError, ValueError):
        return labels
