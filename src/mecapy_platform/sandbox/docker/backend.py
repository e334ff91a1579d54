"""The backend whose runs outlive their worker.

A container for each attempt, through a daemon that tenants' code cannot reach.
"""

import os
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.core.living import LivingThread
from mecapy_platform.sandbox.base import NOTHING_SEEN, Check, Kept, Limits, Run, SandboxSpec, Seen, SelfTest
from mecapy_platform.sandbox.docker.broker.config import BrokerConfig
from mecapy_platform.sandbox.docker.broker_client import BrokerClient, Place
from mecapy_platform.sandbox.docker.container_config import LABEL, limits_from, write_run_folder
from mecapy_platform.sandbox.docker.link import NOBODY, Link
from mecapy_platform.sandbox.docker.local_broker import LocalBroker
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.docker.run import Container, DockerRun
from mecapy_platform.sandbox.docker.waiting_containers import WaitingContainer, WarmContainers, claimed_labels, may_wait
from mecapy_platform.sandbox.images import BuildOrder
from mecapy_platform.sandbox.root.etc import write_etc
from mecapy_platform.sandbox.self_test import run_self_test

HELLO_SECONDS = 30.0
OVERDUE_SECONDS = 120.0


class DockerSandbox:
    """One attempt, one container. The daemon must be on this machine: packages and inputs are mounted from it."""

    name = "docker"
    is_durable = True

    def __init__(self, options: DockerOptions) -> None:
        self._options = options
        self._client: BrokerClient | None = None
        self._local: LocalBroker | None = None
        self.images = BrokerImages(self._broker)
        self._warm = WarmContainers(options.warm, lambda spec: self._make(spec, waits=True)) if options.warm else None
        self._lock = threading.Lock()
        self._removals: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._remover: threading.Thread | None = None

    def self_test(self) -> SelfTest:
        """Run a probe inside the real confinement, see self_test.py; and say how the daemon is set up."""
        found = run_self_test(self)
        return SelfTest((*found.checks, *daemon_checks(self._broker().facts())))

    def start(self, spec: SandboxSpec) -> Run:
        if spec.write_inputs is not None:
            spec.write_inputs()
        if self._warm is None or not may_wait(spec):
            return self._make(spec, waits=False).run
        run = self._warm.take(spec) or self._make(spec, waits=False).run
        self._warm.wish(spec)
        return run

    def is_ready(self, spec: SandboxSpec) -> bool:
        """Whether a container waits for such a task."""
        return self._warm is not None and self._warm.has(spec)

    def _make(self, spec: SandboxSpec, *, waits: bool) -> WaitingContainer:
        """Start a container. `waits`: its order, and what it reads, come later."""
        broker = self._broker()
        name = f"mecapy-{self._options.platform}-{secrets.token_hex(8)}"
        uid = self._options.first_uid + secrets.randbelow(self._options.uids)
        folder = self._options.home / name
        write_run_folder(folder, uid)
        if waits:
            (folder / "in").mkdir()
            (folder / "in").chmod(0o755)
            spec = replace(spec, inputs=folder / "in")
        link = Link(folder, uid)
        try:
            link.listen()
            place = Place(name, folder, uid, self._options.node)
            container_id, program = broker.create(spec, place, waits=waits)
        except (SandboxError, OSError):
            link.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        run = DockerRun(self._container(container_id, spec.limits, link, folder, keep=spec.keep))
        try:
            broker.start(container_id)
            run.wait_for_hello(HELLO_SECONDS)
            self._check_started(run, container_id)
        except SandboxError:
            run.close()
            raise
        return WaitingContainer(run, program, folder, spec.organization)

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        """The run of a container that lives, or one that has died and can still say how."""
        found = self._broker().inspect(reference)
        if found is None:
            return None
        labels = dict(found["labels"])
        folder = self._options.home / labels[f"{LABEL}.name"]
        if not folder.is_dir():
            return None
        labels = claimed_labels(folder, labels)
        pid = int(found["state"]["Pid"])
        link = Link(folder, int(labels[f"{LABEL}.uid"]), pid or NOBODY)
        link.listen()
        keep = labels.get(f"{LABEL}.keep") == "yes"
        run = DockerRun(self._container(str(found["id"]), limits_from(labels), link, folder, keep=keep), seen)
        try:
            run.wait_for_hello(HELLO_SECONDS)
        except SandboxError:
            run.let_go()
            raise
        return run

    def life(self) -> str:
        """The daemon, as its broker sees it: containers may die with the daemon, and with nothing else."""
        return self._broker().life()

    def kept(self) -> Sequence[Kept]:
        found = self._broker().list(self._options.node)
        self._forget({str(item["labels"][f"{LABEL}.name"]) for item in found})
        home = self._options.home
        labels = [claimed_labels(home / item["labels"][f"{LABEL}.name"], dict(item["labels"])) for item in found]
        return [
            _kept(str(item["id"]), own, time.time() - float(item["created"]))
            for item, own in zip(found, labels, strict=True)
        ]

    def remove(self, reference: str) -> None:
        broker = self._broker()
        found = broker.inspect(reference)
        if found is not None:
            broker.remove(reference)
            shutil.rmtree(self._options.home / found["labels"][f"{LABEL}.name"], ignore_errors=True)

    def close(self) -> None:
        """End what waits, and wait for containers that are being removed."""
        if self._warm is not None:
            self._warm.close()
        with self._lock:
            remover, self._remover = self._remover, None
        if remover is not None:
            self._removals.put(None)
            remover.join()
        with self._lock:
            local, self._local, self._client = self._local, None, None
        if local is not None:
            local.stop()

    def _container(self, container_id: str, limits: Limits, link: Link, folder: Path, *, keep: bool) -> Container:
        broker = self._broker()

        def remove() -> None:
            with suppress(SandboxError):  # the sweep of orphans tries again
                broker.remove(container_id)
                shutil.rmtree(folder, ignore_errors=True)

        def release(can_wait: bool) -> None:
            self._later(remove) if can_wait else remove()

        return Container(container_id, limits, link, lambda: broker.inspect(container_id), remove, release, keep)

    def _check_started(self, run: DockerRun, container_id: str) -> None:
        if run.has_ended_early():
            words = ""
            with suppress(SandboxError):  # it is gone already
                words = self._broker().last_words(container_id)[-1000:]
            raise SandboxError(
                "sandbox_not_started", f"The sandbox could not start: {run.ended().detail} {words}".strip()
            )

    def _broker(self) -> BrokerClient:
        with self._lock:
            if self._client is None:
                self._prepare_home()
                if not self._options.broker:
                    self._local = LocalBroker.start(self._own_broker())
                self._client = BrokerClient(self._options.broker or self._local_address())
            return self._client

    def _local_address(self) -> str:
        assert self._local is not None
        return self._local.address

    def _own_broker(self) -> BrokerConfig:
        """For one that this process starts, as nobody named another."""
        return broker_config(self._options, os.geteuid(), ("/",))

    def _prepare_home(self) -> None:
        self._options.home.mkdir(parents=True, exist_ok=True)
        write_etc(self._options.home / "etc")

    def _forget(self, names: Collection[str]) -> None:
        """Remove folders of containers that are gone; young ones may belong to a container that is just being made."""
        for folder in self._options.home.glob("mecapy-*"):
            with suppress(OSError):
                if folder.name not in names and time.time() - folder.stat().st_mtime > OVERDUE_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

    def _later(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._remover is None:
                self._remover = LivingThread("docker-remover", self._remove_all)
                self._remover.start()
        self._removals.put(work)

    def _remove_all(self) -> None:
        while (work := self._removals.get()) is not None:
            work()


class BrokerImages:
    """The port to images, through the broker."""

    def __init__(self, broker: Callable[[], BrokerClient]) -> None:
        self._broker = broker

    def build(self, order: BuildOrder, say: Callable[[str], None]) -> str:
        return self._broker().build(order, say)

    def obtain(self, name: str, owner: str, say: Callable[[str], None]) -> str:
        return self._broker().obtain(name, owner, say)

    def has(self, image_id: str) -> bool:
        return self._broker().has(image_id)

    def save(self, image_id: str) -> BinaryIO:
        return self._broker().save(image_id)

    def load(self, archive: BinaryIO) -> None:
        self._broker().load(archive)


def broker_config(options: DockerOptions, owner_uid: int, roots: tuple[str, ...]) -> BrokerConfig:
    """What a broker for these options is told."""
    return BrokerConfig(
        owner_uid=owner_uid,
        roots=roots,
        host=options.host,
        platform=options.platform,
        runtime=options.runtime,
        first_uid=options.first_uid,
        uids=options.uids,
        images=options.images,
        builds_under_default_filter=options.builds_under_default_filter,
    )


def daemon_checks(facts: Mapping[str, Any]) -> list[Check]:
    """What an operator may want to change about the daemon and its broker; nothing here stops work."""
    separates = facts["uid"] != os.geteuid()
    return [
        Check(
            "live restore",
            holds=bool(facts["live_restore"]),
            detail="calculations outlive a restart of the daemon"
            if facts["live_restore"]
            else "calculations end with a restart of the daemon. Set live-restore in /etc/docker/daemon.json.",
            required=False,
        ),
        Check(
            "broker of the daemon",
            holds=True,
            detail="the broker has a user of its own: who breaks into a worker cannot reach the daemon"
            if separates
            else "the broker has the same user as whoever asks here, so between those two it separates nothing",
            required=False,
        ),
    ]


def _kept(reference: str, labels: Mapping[str, str], age_seconds: float) -> Kept:
    limits = limits_from(labels)
    most = limits.timeout_seconds + limits.grace_seconds + OVERDUE_SECONDS
    is_attempt = labels.get(f"{LABEL}.keep") == "yes"
    return Kept(reference, labels[f"{LABEL}.task"], int(labels[f"{LABEL}.attempt"]), is_attempt, age_seconds > most)
