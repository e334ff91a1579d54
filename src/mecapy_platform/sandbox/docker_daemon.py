"""The only file that speaks with the Docker daemon. Every failure becomes a SandboxError; nothing is retried here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from requests.exceptions import RequestException

from mecapy_platform.core.errors import SandboxError

TIMEOUT_SECONDS = 60
CONNECTIONS = 32


class Daemon:
    """One connection pool; shared between threads."""

    def __init__(self, host: str) -> None:
        self.host = host
        with _translated(f"The Docker daemon at {host} cannot be reached"):
            self._api: Any = docker.APIClient(
                base_url=host, version="auto", timeout=TIMEOUT_SECONDS, max_pool_size=CONNECTIONS, num_pools=CONNECTIONS
            )

    def info(self) -> dict[str, Any]:
        with _translated("The Docker daemon did not answer"):
            return cast("dict[str, Any]", self._api.info())

    def create(self, config: Mapping[str, Any], name: str) -> str:
        with _translated("Docker did not create the container"):
            return str(self._api.create_container_from_config(dict(config), name)["Id"])

    def start(self, container: str) -> None:
        with _translated("Docker did not start the container"):
            self._api.start(container)

    def inspect(self, container: str) -> dict[str, Any] | None:
        """None: there is no such container."""
        with _translated("Docker did not tell about the container"):
            try:
                return cast("dict[str, Any]", self._api.inspect_container(container))
            except NotFound:
                return None

    def remove(self, container: str) -> None:
        """Kill and remove; one that is gone or going already is no error."""
        with _translated("Docker did not remove the container"):
            try:
                self._api.remove_container(container, v=True, force=True)
            except NotFound:
                return
            except APIError as error:
                if error.response is None or error.response.status_code != 409:
                    raise

    def last_words(self, container: str) -> str:
        with _translated("Docker did not give the log"):
            return cast("bytes", self._api.logs(container, tail=20)).decode("utf-8", "replace")

    def containers(self, labels: Mapping[str, str]) -> Sequence[dict[str, Any]]:
        """Running or not, by exact labels."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with _translated("Docker did not list containers"):
            return cast("Sequence[dict[str, Any]]", self._api.containers(all=True, filters={"label": wanted}))

    def image(self, name: str) -> dict[str, Any] | None:
        with _translated("Docker did not tell about the image"):
            try:
                return cast("dict[str, Any]", self._api.inspect_image(name))
            except ImageNotFound:
                return None

    def load(self, archive: bytes) -> None:
        with _translated("Docker did not load the image"):
            for _line in self._api.load_image(archive):
                pass

    def close(self) -> None:
        self._api.close()


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise SandboxError("docker_refused", f"{what}: {error.explanation or error}") from error
    except (DockerException, RequestException, OSError) as error:
        raise SandboxError("docker_unreachable", f"{what}: {error}") from error


def socket_path(host: str) -> Path | None:
    """The file behind `unix://..`; None for a daemon elsewhere, which this backend does not serve."""
    return Path(host.removeprefix("unix://")) if host.startswith("unix://") else None
