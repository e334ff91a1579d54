"""The only file that speaks with the Docker daemon. Every failure becomes a SandboxError; nothing is retried here."""

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from requests.exceptions import RequestException

from mecapy_platform.core.errors import OutageError, SandboxError

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

    def components(self) -> Mapping[str, str]:
        """Versions of what the daemon starts, such as runc."""
        with _translated("The Docker daemon did not answer"):
            found = self._api.version(api_version=False).get("Components") or ()
            return {str(item.get("Name")): str(item.get("Version")) for item in found}

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

    def written_bytes(self, container: str) -> int:
        """What a container has written to its own layer; 0 once it is gone."""
        with _translated("Docker did not tell the size of the container"):
            answer = self._api._get(self._api._url("/containers/{0}/json", container), params={"size": True})  # noqa: SLF001
            return 0 if answer.status_code == 404 else int(answer.json().get("SizeRw") or 0)

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

    def load(self, archive: bytes | BinaryIO) -> None:
        with _translated("Docker did not load the image"):
            for _line in self._api.load_image(archive):
                pass

    def save(self, image: str) -> Iterator[bytes]:
        with _translated("Docker did not give the image"):
            yield from self._api.get_image(image)

    def remove_image(self, image: str, *, force: bool = True) -> None:
        """Without `force` an image stays that has a name or a container."""
        with _translated("Docker did not remove the image"), suppress(NotFound):
            self._api.remove_image(image, force=force)

    def build(
        self,
        context: BinaryIO,
        dockerfile: str,
        *,
        labels: Mapping[str, str],
        network: str,
        memory_bytes: int,
        parent: str = "",
    ) -> "BuildStream":
        """By the classic builder, which needs no front end from a registry; nothing of another build is used again."""
        params = {
            "dockerfile": dockerfile,
            "networkmode": network,
            "labels": json.dumps(dict(labels)),
            "memory": memory_bytes,
            "memswap": memory_bytes,
            "cgroupparent": parent,
            "nocache": True,
            "rm": True,
            "forcerm": True,
            "pull": False,
        }
        with _translated("Docker did not start the build"):
            url = self._api._url("/build")  # noqa: SLF001 - the library's own build() gives no way to end one
            answer = self._api._post(  # noqa: SLF001
                url, data=context, params=params, headers={"Content-Type": "application/tar"}, stream=True, timeout=None
            )
            self._api._raise_for_status(answer)  # noqa: SLF001
            return BuildStream(answer, self._api._get_raw_response_socket(answer))  # noqa: SLF001

    def close(self) -> None:
        self._api.close()


class BuildStream:
    """The messages of one build. `cut` ends it from another thread: the daemon stops a build whose client is gone."""

    def __init__(self, answer: Any, connection: Any) -> None:
        self._answer = answer
        self._connection = getattr(connection, "_sock", connection)  # a socket below its file

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with suppress(RequestException, OSError, ValueError):
            for line in self._answer.iter_lines():
                if line:
                    yield json.loads(line)

    def cut(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise SandboxError("docker_refused", f"{what}: {error.explanation or error}") from error
    except (DockerException, RequestException, OSError) as error:
        raise OutageError("docker_unreachable", f"{what}: {error}") from error


def socket_path(host: str) -> Path | None:
    """The file behind `unix://..`; None for a daemon elsewhere, which this backend does not serve."""
    return Path(host.removeprefix("unix://")) if host.startswith("unix://") else None
