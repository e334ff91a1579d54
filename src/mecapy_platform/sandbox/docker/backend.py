"""The backend whose runs outlive their worker.

A container for each attempt, through a daemon that tenants' code cannot reach.
"""

import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mecapy_platform.core.errors import OutageError, SandboxError
from mecapy_platform.core.living import LivingThread
from mecapy_platform.sandbox.base import NOTHING_SEEN, Kept, Limits, Run, SandboxSpec, Seen, SelfTest
from mecapy_platform.sandbox.docker.container_config import (
    LABEL,
    ContainerProgram,
    Identity,
    container_config,
    labels_of,
    limits_from,
    write_run_folder,
)
from mecapy_platform.sandbox.docker.daemon import Daemon, socket_path
from mecapy_platform.sandbox.docker.images import DockerImages
from mecapy_platform.sandbox.docker.link import Link
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.docker.program import image_program, managed_program
from mecapy_platform.sandbox.docker.root_image import root_image
from mecapy_platform.sandbox.docker.run import Container, DockerRun
from mecapy_platform.sandbox.docker.waiting_containers import WaitingContainer, WarmContainers, claimed_labels, may_wait
from mecapy_platform.sandbox.peer import listener_pid
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
        self._daemon_made: Daemon | None = None
        self._root: str | None = None
        self.images = DockerImages(self._daemon, needs_own_filter=not options.builds_under_default_filter)
        self._warm = WarmContainers(options.warm, lambda spec: self._make(spec, waits=True)) if options.warm else None
        self._lock = threading.Lock()
        self._removals: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._remover: threading.Thread | None = None

    def self_test(self) -> SelfTest:
        """Run a probe inside the real confinement; see self_test.py."""
        return run_self_test(self)

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
        daemon = self._daemon()
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
            program = self._program(spec, folder)
            link.listen()
            identity = Identity(name, uid, {**labels_of(spec, name, self._options), f"{LABEL}.uid": str(uid)})
            container_id = daemon.create(container_config(spec, program, identity, self._options, waits=waits), name)
        except (SandboxError, OSError):
            link.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        run = DockerRun(self._container(container_id, spec.limits, link, folder, keep=spec.keep))
        try:
            daemon.start(container_id)
            run.wait_for_hello(HELLO_SECONDS)
            self._check_started(run, container_id)
        except SandboxError:
            run.close()
            raise
        return WaitingContainer(run, program, folder, spec.organization)

    def find(self, reference: str, seen: Seen = NOTHING_SEEN) -> Run | None:
        """The run of a container that lives, or one that has died and can still say how."""
        found = self._daemon().inspect(reference)
        labels = {} if found is None else found["Config"]["Labels"] or {}
        if found is None or labels.get(f"{LABEL}.platform") != self._options.platform:
            return None
        folder = self._options.home / labels[f"{LABEL}.name"]
        if not folder.is_dir():
            return None
        labels = claimed_labels(folder, labels)
        pid = int(found["State"]["Pid"])
        link = Link(folder, int(labels[f"{LABEL}.uid"]), pid if pid and Path(f"/proc/{pid}").exists() else None)
        link.listen()
        keep = labels.get(f"{LABEL}.keep") == "yes"
        run = DockerRun(self._container(found["Id"], limits_from(labels), link, folder, keep=keep), seen)
        try:
            run.wait_for_hello(HELLO_SECONDS)
        except SandboxError:
            run.let_go()
            raise
        return run

    def life(self) -> str:
        """The daemon; containers may die with it."""
        try:
            return str(listener_pid(str(socket_path(self._options.host))))
        except OSError as error:
            raise OutageError(
                "docker_unreachable", f"The Docker daemon at {self._options.host} cannot be reached: {error}."
            ) from error

    def kept(self) -> Sequence[Kept]:
        ours = {f"{LABEL}.platform": self._options.platform, f"{LABEL}.node": self._options.node}
        found = self._daemon().containers(ours)
        self._forget({str(one["Labels"][f"{LABEL}.name"]) for one in found})
        home = self._options.home
        labels = [claimed_labels(home / one["Labels"][f"{LABEL}.name"], one["Labels"]) for one in found]
        return [
            _kept(str(one["Id"]), own, time.time() - float(one["Created"]))
            for one, own in zip(found, labels, strict=True)
        ]

    def remove(self, reference: str) -> None:
        daemon = self._daemon()
        found = daemon.inspect(reference)
        labels = {} if found is None else found["Config"]["Labels"] or {}
        if labels.get(f"{LABEL}.platform") == self._options.platform:
            daemon.remove(reference)
            shutil.rmtree(self._options.home / labels[f"{LABEL}.name"], ignore_errors=True)

    def close(self) -> None:
        """End what waits, and wait for containers that are being removed."""
        if self._warm is not None:
            self._warm.close()
        with self._lock:
            remover, self._remover = self._remover, None
        if remover is not None:
            self._removals.put(None)
            remover.join()
        if self._daemon_made is not None:
            self._daemon_made.close()
            self._daemon_made = None

    def _program(self, spec: SandboxSpec, folder: Path) -> ContainerProgram:
        if spec.image is not None:
            image = self._daemon().image(spec.image)
            if image is None:
                raise SandboxError("image_unavailable", f"The image {spec.image} is not on this node.")
            return image_program(spec, folder, image)
        if spec.environment is None or (spec.handler is None and not spec.describe):
            raise SandboxError("kind_not_supported", "A package without an image needs an interpreter and a handler.")
        return managed_program(spec, folder, self._options.home / "etc", self._root_image())

    def _container(self, container_id: str, limits: Limits, link: Link, folder: Path, *, keep: bool) -> Container:
        daemon = self._daemon()

        def remove() -> None:
            with suppress(SandboxError):  # the sweep of orphans tries again
                daemon.remove(container_id)
                shutil.rmtree(folder, ignore_errors=True)

        def release(can_wait: bool) -> None:
            self._later(remove) if can_wait else remove()

        return Container(container_id, limits, link, lambda: daemon.inspect(container_id), remove, release, keep)

    def _check_started(self, run: DockerRun, container_id: str) -> None:
        if run.has_ended_early():
            words = self._daemon().last_words(container_id)[-1000:]
            raise SandboxError(
                "sandbox_not_started", f"The sandbox could not start: {run.ended().detail} {words}".strip()
            )

    def _daemon(self) -> Daemon:
        with self._lock:
            if self._daemon_made is None:
                if socket_path(self._options.host) is None:
                    raise SandboxError(
                        "docker_not_local", f"{self._options.host} is not the socket of a daemon on this machine."
                    )
                self._daemon_made = Daemon(self._options.host)
                self._prepare_home()
            return self._daemon_made

    def _prepare_home(self) -> None:
        self._options.home.mkdir(parents=True, exist_ok=True)
        write_etc(self._options.home / "etc")

    def _root_image(self) -> str:
        """The empty root's id; made here where the node does not have it."""
        if self._root is None:
            image = root_image()
            daemon = self._daemon()
            if daemon.image(image.image_id) is None:
                daemon.load(image.archive)
            self._root = image.image_id
        return self._root

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


def _kept(reference: str, labels: Mapping[str, str], age_seconds: float) -> Kept:
    limits = limits_from(labels)
    most = limits.timeout_seconds + limits.grace_seconds + OVERDUE_SECONDS
    is_attempt = labels.get(f"{LABEL}.keep") == "yes"
    return Kept(reference, labels[f"{LABEL}.task"], int(labels[f"{LABEL}.attempt"]), is_attempt, age_seconds > most)
