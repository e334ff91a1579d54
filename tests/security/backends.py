"""The backends that the attack suite runs on. One more backend is one more entry."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from support.backends.docker_daemon import daemon
from support.backends.docker_images import FOR_TESTS_VARIABLES

Settings = Mapping[str, str]
NAMESPACES = ("mnt", "net", "pid", "ipc", "uts")


@contextmanager
def _bubblewrap() -> Iterator[Settings]:
    yield {"MECAPY_SANDBOX_BACKEND": "bubblewrap"}


@contextmanager
def _docker() -> Iterator[Settings]:
    with daemon() as engine:
        engine.directory.chmod(0o711)  # the worker, an ordinary user, passes through to the socket
        yield {"MECAPY_SANDBOX_BACKEND": "docker", "MECAPY_DOCKER_HOST": engine.address, **FOR_TESTS_VARIABLES}


@contextmanager
def _docker_warm() -> Iterator[Settings]:
    with _docker() as settings:
        yield {**settings, "MECAPY_DOCKER_WARM": "10"}


@dataclass(frozen=True)
class Backend:
    """How a platform with it is started, what its packages say, and whether it can be here.

    What it needs beside it lives as long.
    """

    name: str
    settings: Callable[[], AbstractContextManager[Settings]]
    program: str
    is_warm: bool = False
    keeps_one: bool = False  # started ahead, of each function
    namespaces: tuple[str, ...] = NAMESPACES  # of a task's own
    is_sampled: bool = False  # `make test` tries the sample, `make test-long` all

    def missing(self) -> str:
        """Why it is absent on this machine; empty: it is there."""
        return "" if shutil.which(self.program) else f"{self.program} is not installed"


BACKENDS = (
    Backend("bubblewrap-cold", _bubblewrap, "unshare", namespaces=(*NAMESPACES, "user"), is_sampled=True),
    Backend("bubblewrap-warm", _bubblewrap, "unshare", is_warm=True, namespaces=(*NAMESPACES, "user")),
    Backend("docker-cold", _docker, "dockerd"),
    Backend("docker-warm", _docker_warm, "dockerd", is_warm=True, keeps_one=True, is_sampled=True),
)
