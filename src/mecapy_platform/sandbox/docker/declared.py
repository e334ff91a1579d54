"""The Docker backend as the registry knows it."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from mecapy_platform.sandbox.backends import (
    BackendKind,
    Capabilities,
    Companion,
    CompanionPlace,
    Given,
    read_options,
)
from mecapy_platform.sandbox.base import OwnedSandbox
from mecapy_platform.sandbox.docker.backend import DockerSandbox, broker_config
from mecapy_platform.sandbox.docker.local_broker import MODULE
from mecapy_platform.sandbox.docker.options import DockerOptions, DockerWords

NAME = DockerSandbox.name


def make(given: Given) -> OwnedSandbox:
    return DockerSandbox(options_from(given))


def options_from(given: Given) -> DockerOptions:
    words = read_options(DockerWords, NAME, given.options)
    return DockerOptions(
        home=given.home / "docker" / given.node,
        host=words.host,
        broker=words.broker,
        platform=given.platform,
        node=given.node,
        runtime=words.runtime,
        first_uid=words.first_uid,
        uids=words.uids,
        warm=words.warm,
        images=words.image_policy(),
        builds_under_default_filter=words.build_default_filter,
    )


def broker_command(given: Given, place: CompanionPlace) -> Sequence[str]:
    """The command line of the broker: isolated, its orders in one JSON argument that holds no secret."""
    used = str(place.socket.with_suffix(".images"))
    config = replace(broker_config(options_from(given), place.owner_uid, tuple(place.roots)), used_images=used)
    return [sys.executable, "-I", "-m", MODULE, "--socket", str(place.socket), "--config", config.as_json()]


BROKER = Companion("broker", "broker", broker_command)
KIND = BackendKind(NAME, Capabilities(is_durable=True, runs_images=True), make, BROKER)
