"""What the broker does, and nothing else: each verb checks its arguments and touches only what is ours."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from mecapy_platform.core.errors import OutageError, SandboxError
from mecapy_platform.sandbox.base import SandboxSpec
from mecapy_platform.sandbox.docker.broker.config import (
    BrokerConfig,
    container_id,
    flag,
    number,
    read_spec,
    refused,
    text,
)
from mecapy_platform.sandbox.docker.broker.daemon import Daemon, socket_path
from mecapy_platform.sandbox.docker.broker.images import DockerImages
from mecapy_platform.sandbox.docker.container_config import (
    LABEL,
    ContainerProgram,
    Identity,
    container_config,
    labels_of,
)
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.docker.program import image_program, managed_program
from mecapy_platform.sandbox.docker.root_image import root_image
from mecapy_platform.sandbox.images import BuildOrder
from mecapy_platform.sandbox.peer import listener_pid

IMAGE_LABEL = re.compile("[a-z][a-z0-9.]{0,63}")
IMAGE_ID = re.compile("sha256:[0-9a-f]{64}")
STATES = ("Running", "Status", "OOMKilled", "Error", "ExitCode", "Pid")


@dataclass
class Request:
    """The members that are left to read, a descriptor that came along, and where lines of a long answer go."""

    members: dict[str, Any]
    descriptor: int | None = None
    say: Callable[[str], None] = field(default=lambda _line: None)

    def take(self, name: str) -> Any:
        if name not in self.members:
            raise refused(f"it lacks {name}")
        return self.members.pop(name)

    def end(self) -> None:
        """Everything was read."""
        if self.members:
            raise refused(f"unknown members: {', '.join(sorted(map(str, self.members)))}")

    def file(self, mode: str) -> BinaryIO:
        if self.descriptor is None:
            raise refused("it lacks a descriptor")
        return os.fdopen(os.dup(self.descriptor), mode)  # type: ignore[return-value] # binary modes alone are asked for


class Verbs:
    """`table` is all there is. Every method may run in several threads."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._made: Daemon | None = None
        self._lock = Lock()
        self._root = ""
        self._images = DockerImages(self._daemon, config)
        self.table: Mapping[str, Callable[[Request], object]] = {
            "life": self.life,
            "facts": self.facts,
            "create": self.create,
            "start": self.start,
            "inspect": self.inspect,
            "list": self.list,
            "last_words": self.last_words,
            "remove": self.remove,
            "build": self.build,
            "obtain": self.obtain,
            "has_image": self.has_image,
            "save_image": self.save_image,
            "load_image": self.load_image,
        }

    def collect_images(self) -> None:
        """Called from time to time by the server, by no request."""
        self._images.collect()

    def life(self, request: Request) -> str:
        """Another word once the daemon is another process: containers may have died with it."""
        request.end()
        path = socket_path(self._config.host)
        try:
            return str(listener_pid(str(path)))
        except OSError as error:
            raise OutageError(
                "docker_unreachable", f"The Docker daemon at {self._config.host} cannot be reached: {error}."
            ) from error

    def facts(self, request: Request) -> Mapping[str, object]:
        """What an operator is told of the daemon by `mecapy doctor`."""
        request.end()
        info = self._daemon().info()
        return {
            "version": str(info.get("ServerVersion")),
            "live_restore": bool(info.get("LiveRestoreEnabled")),
            "uid": os.geteuid(),
        }

    def create(self, request: Request) -> Mapping[str, object]:
        """Compose and make a container: all of its confinement is written here, none of it in the request."""
        config = self._config
        name = text(request.take("name"), "name", most=200)
        folder = config.folder(request.take("folder"), name)
        uid, waits = config.uid(request.take("uid")), flag(request.take("waits"), "waits")
        options = DockerOptions(
            platform=config.platform, node=text(request.take("node"), "node", most=200), runtime=config.runtime
        )
        spec = read_spec(request.take("run"), config)
        request.end()
        program = self._program(spec, folder)
        identity = Identity(name, uid, {**labels_of(spec, name, options), f"{LABEL}.uid": str(uid)})
        made = self._daemon().create(container_config(spec, program, identity, options, waits=waits), name)
        return {"id": made, "environment": dict(program.environment), "folder": program.folder}

    def start(self, request: Request) -> None:
        self._daemon().start(self._own(request))

    def inspect(self, request: Request) -> Mapping[str, object] | None:
        """How one of our containers stands, None when there is none of that name."""
        container = container_id(request.take("container"))
        request.end()
        found = self._find(container)
        if found is None:
            return None
        state = {name: found["State"].get(name) for name in STATES}
        return {"id": found["Id"], "labels": found["Config"]["Labels"], "state": state}

    def list(self, request: Request) -> list[Mapping[str, object]]:
        node = text(request.take("node"), "node", most=200)
        request.end()
        ours = {f"{LABEL}.platform": self._config.platform, f"{LABEL}.node": node}
        return [
            {"id": found["Id"], "labels": found["Labels"], "created": found["Created"]}
            for found in self._daemon().containers(ours)
        ]

    def last_words(self, request: Request) -> str:
        return self._daemon().last_words(self._own(request))

    def remove(self, request: Request) -> bool:
        """False: it was not there, or is not ours."""
        container = container_id(request.take("container"))
        request.end()
        if self._find(container) is None:
            return False
        self._daemon().remove(container)
        return True

    def build(self, request: Request) -> str:
        labels = request.take("labels")
        if not isinstance(labels, dict) or not all(IMAGE_LABEL.fullmatch(str(name)) for name in labels):
            raise refused("labels are no object of plain names")
        seconds = request.take("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 86400:
            raise refused("seconds is no sensible number")
        order = BuildOrder(
            context=self._config.path(request.take("context")),
            dockerfile=_inside(request.take("dockerfile")),
            owner=text(request.take("owner"), "owner", most=200),
            labels={name: text(value, "a label", most=200) for name, value in labels.items()},
            has_network=flag(request.take("has_network"), "has_network"),
            seconds=seconds,
            image_bytes=number(request.take("image_bytes"), "image_bytes"),
            memory_mb=number(request.take("memory_mb"), "memory_mb"),
        )
        dockerfile = text(request.take("text"), "the Dockerfile", most=1 << 20)
        request.end()
        return self._images.build(order, dockerfile, request.say)

    def obtain(self, request: Request) -> str:
        name, owner = text(request.take("name"), "name", most=500), text(request.take("owner"), "owner", most=200)
        request.end()
        return self._images.obtain(name, owner, request.say)

    def has_image(self, request: Request) -> bool:
        image = _image_id(request.take("image"))
        request.end()
        return self._images.has(image)

    def save_image(self, request: Request) -> None:
        image = _image_id(request.take("image"))
        request.end()
        with request.file("wb") as target:
            self._images.save(image, target)

    def load_image(self, request: Request) -> None:
        request.end()
        with request.file("rb") as source:
            self._images.load(source)

    def _program(self, spec: SandboxSpec, folder: Path) -> ContainerProgram:
        if spec.image is not None:
            return image_program(spec, folder, self._images.runnable(_image_id(spec.image), spec.organization))
        if spec.environment is None or (spec.handler is None and spec.mode.is_call):
            raise SandboxError("kind_not_supported", "A package without an image needs an interpreter and a handler.")
        return managed_program(spec, folder, folder.parent / "etc", self._root_image())

    def _root_image(self) -> str:
        """The empty root's id; made here where the node does not have it."""
        if not self._root:
            image, daemon = root_image(), self._daemon()
            if daemon.image(image.image_id) is None:
                daemon.load(image.archive)
            self._root = image.image_id
        return self._root

    def _own(self, request: Request) -> str:
        container = container_id(request.take("container"))
        request.end()
        if self._find(container) is None:
            raise SandboxError("docker_refused", "There is no such container of this platform.")
        return container

    def _find(self, container: str) -> dict[str, Any] | None:
        """By its id, and by the label that only this broker writes."""
        found = self._daemon().inspect(container)
        labels = {} if found is None else found["Config"]["Labels"] or {}
        return found if labels.get(f"{LABEL}.platform") == self._config.platform else None

    def _daemon(self) -> Daemon:
        with self._lock:
            if self._made is None:
                if socket_path(self._config.host) is None:
                    raise SandboxError(
                        "docker_not_local", f"{self._config.host} is not the socket of a daemon on this machine."
                    )
                self._made = Daemon(self._config.host)
            return self._made


def _image_id(value: object) -> str:
    if not isinstance(value, str) or not IMAGE_ID.fullmatch(value):
        raise refused("no id of an image")
    return value


def _inside(value: object) -> str:
    """A plain relative path."""
    path = text(value, "the name of the Dockerfile")
    if path.startswith("/") or any(part in {"", ".", ".."} for part in path.split("/")):
        raise refused("the name of the Dockerfile leads out of its context")
    return path
