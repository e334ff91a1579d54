"""The Docker backend as the registry knows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mecapy_platform.sandbox.backends import BackendKind, Capabilities, Given, read_options
from mecapy_platform.sandbox.base import OwnedSandbox
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.daemon import socket_path
from mecapy_platform.sandbox.docker.options import DockerOptions, DockerWords

NAME = DockerSandbox.name


def make(given: Given) -> OwnedSandbox:
    return DockerSandbox(options_from(given))


def options_from(given: Given) -> DockerOptions:
    words = read_options(DockerWords, NAME, given.options)
    return DockerOptions(
        home=given.home / "docker" / given.node,
        host=words.host,
        platform=given.platform,
        node=given.node,
        runtime=words.runtime,
        first_uid=words.first_uid,
        uids=words.uids,
        warm=words.warm,
        builds_under_default_filter=words.build_default_filter,
    )


def sockets(options: Mapping[str, Any]) -> Sequence[Path]:
    """The daemon's, whose group the workers join."""
    path = socket_path(read_options(DockerWords, NAME, options).host)
    return () if path is None else (path,)


KIND = BackendKind(NAME, Capabilities(is_durable=True, runs_images=True), make, sockets)
