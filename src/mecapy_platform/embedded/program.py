"""What the launcher runs in its children. Bootstrap is it; tests hand in stand-ins."""

import socket
from collections.abc import Mapping
from typing import Protocol

from pydantic import SecretStr

from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.postgres import Postgres
from mecapy_platform.embedded.valkey import Valkey
from mecapy_platform.settings import Settings

LANES = ("high_priority", "default", "long_running")


class Program(Protocol):
    """The functions of mecapy_platform.bootstrap that the launcher calls, each in a child of its own."""

    def migrate(self, settings: Settings) -> None: ...

    def run_api(self, settings: Settings, listener: socket.socket) -> None: ...

    def run_relay(self, settings: Settings) -> None: ...

    def run_worker(self, settings: Settings, lanes: tuple[str, ...]) -> None: ...

    def wait_ready(self, settings: Settings) -> None: ...


SECRET_ADDRESSES: Mapping[str, object] = {  # and what a part finds that has no business with it
    "database_url": "",
    "database_worker_url": "",
    "database_owner_url": "",
    "broker_url": "",
    "signing_secret": SecretStr(""),
}
NEEDED: Mapping[str, frozenset[str]] = {
    "migrate": frozenset({"database_owner_url"}),
    "api": frozenset({"database_url", "broker_url", "signing_secret"}),
    "relay": frozenset({"database_worker_url", "broker_url"}),
    "worker": frozenset({"database_worker_url", "broker_url"}),
    "ready": frozenset({"database_url", "broker_url"}),
}


def part_settings(part: str, settings: Settings) -> Settings:
    """The settings with no secret but those that this part works with."""
    return settings.model_copy(
        update={name: none for name, none in SECRET_ADDRESSES.items() if name not in NEEDED[part]}
    )


def embedded_settings(layout: Layout, values: secrets.Secrets, postgres: Postgres, valkey: Valkey) -> Settings:
    """The addresses of this process tree; limits and policy still come from MECAPY_* variables."""
    addresses: dict[str, object] = {
        "database_url": postgres.app_url,
        "database_worker_url": postgres.worker_url,
        "database_owner_url": postgres.owner_url,
        "broker_url": valkey.url,
        "public_url": values.url,
        "data_dir": layout.files,
        "platform_name": layout.instance_name,
        "spawner_socket": layout.spawner_socket,
        "issuers": (values.issuer,),
        "embedded_issuer_key": layout.issuer_public_key,
        "signing_secret": values.signing,
    }
    return Settings.model_validate({**Settings().model_dump(), **addresses})
