"""The worker's way to the daemon: verbs of the broker, which alone may speak with it."""

import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from mecapy_platform.core.errors import InvalidInputError, OutageError, SandboxError
from mecapy_platform.sandbox.base import SandboxSpec
from mecapy_platform.sandbox.docker import wire
from mecapy_platform.sandbox.docker.broker.config import spec_as_request
from mecapy_platform.sandbox.docker.container_config import ContainerProgram
from mecapy_platform.sandbox.dockerfile import read_dockerfile
from mecapy_platform.sandbox.images import BuildOrder

ANSWER_SECONDS = 120.0
IMAGE_SECONDS = 1800.0  # for what the broker limits by itself
BUILD_EXTRA_SECONDS = 120.0
KINDS: Mapping[str, type[SandboxError | InvalidInputError]] = {
    "outage": OutageError,
    "input": InvalidInputError,
    "sandbox": SandboxError,
}


@dataclass(frozen=True)
class Place:
    """What a container is made from of the worker's: its name, its folder and the uid that it gets."""

    name: str
    folder: Path
    uid: int
    node: str


@dataclass(frozen=True)
class BrokerClient:
    """Stateless: each verb is a connection of its own, so a broker that was started again is simply the next one."""

    address: str

    def life(self) -> str:
        return str(self._ask("life"))

    def facts(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self._ask("facts"))

    def create(self, spec: SandboxSpec, place: Place, *, waits: bool) -> tuple[str, ContainerProgram]:
        """The container's id, and what an order that comes later must know of its program."""
        made = self._ask(
            "create",
            {
                "name": place.name,
                "folder": str(place.folder.absolute()),
                "uid": place.uid,
                "node": place.node,
                "waits": waits,
                "run": spec_as_request(spec),
            },
        )
        return str(made["id"]), ContainerProgram("", (), (), made["environment"], folder=made["folder"])

    def start(self, container: str) -> None:
        self._ask("start", {"container": container})

    def inspect(self, container: str) -> Mapping[str, Any] | None:
        """None: there is no such container of ours."""
        return cast("Mapping[str, Any] | None", self._ask("inspect", {"container": container}))

    def list(self, node: str) -> Sequence[Mapping[str, Any]]:
        return cast("Sequence[Mapping[str, Any]]", self._ask("list", {"node": node}))

    def last_words(self, container: str) -> str:
        return str(self._ask("last_words", {"container": container}))

    def remove(self, container: str) -> bool:
        return bool(self._ask("remove", {"container": container}))

    def build(self, order: BuildOrder, say: Callable[[str], None]) -> str:
        """The Dockerfile goes as our reader understood it, so that nobody reads it in another way."""
        request = {
            "context": str(order.context.resolve()),
            "dockerfile": order.dockerfile,
            "text": read_dockerfile(order.context, order.dockerfile),
            "owner": order.owner,
            "labels": dict(order.labels),
            "has_network": order.has_network,
            "seconds": order.seconds,
            "image_bytes": order.image_bytes,
            "memory_mb": order.memory_mb,
        }
        return str(self._ask("build", request, say=say, seconds=order.seconds + IMAGE_SECONDS + BUILD_EXTRA_SECONDS))

    def obtain(self, name: str, owner: str, say: Callable[[str], None]) -> str:
        return str(self._ask("obtain", {"name": name, "owner": owner}, say=say, seconds=IMAGE_SECONDS))

    def has(self, image_id: str) -> bool:
        return bool(self._ask("has_image", {"image": image_id}))

    def save(self, image_id: str) -> BinaryIO:
        kept = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        self._ask("save_image", {"image": image_id}, descriptor=kept.fileno(), seconds=IMAGE_SECONDS)
        kept.seek(0)
        return cast("BinaryIO", kept)

    def load(self, archive: BinaryIO) -> None:
        with tempfile.TemporaryFile() as kept:
            while piece := archive.read(1 << 20):
                kept.write(piece)
            kept.flush()
            kept.seek(0)
            self._ask("load_image", descriptor=kept.fileno(), seconds=IMAGE_SECONDS)

    def _ask(
        self,
        verb: str,
        members: Mapping[str, object] | None = None,
        *,
        descriptor: int | None = None,
        say: Callable[[str], None] = lambda _line: None,
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        try:
            with _connect(self.address) as connection:
                connection.settimeout(seconds)
                wire.send(connection, {"verb": verb, **(members or {})}, descriptor)
                for answer in wire.answers(connection):
                    if "say" in answer:
                        say(str(answer["say"]))
                    elif "error" in answer:
                        raise _error(answer["error"])
                    else:
                        return answer["done"]
        except (OSError, ValueError) as error:
            raise OutageError(
                "broker_unreachable", f"The broker of the Docker daemon at {self.address} did not answer: {error}."
            ) from error
        raise OutageError("broker_unreachable", f"The broker of the Docker daemon ended while it did {verb}.")


def _connect(address: str) -> socket.socket:
    """A path may be longer than a socket's 107 bytes: then by its folder's descriptor."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path = Path(address)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except OSError:
        connection.close()
        raise
    return connection


def _error(said: Mapping[str, str]) -> SandboxError | InvalidInputError:
    return KINDS.get(said["kind"], SandboxError)(said["code"], said["message"])
