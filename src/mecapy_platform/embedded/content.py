"""What `up` hands to people and scripts once everything answers.

A token, the ready file, the connection of `mecapy login`.
"""

import getpass
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.embedded import secrets
from mecapy_platform.embedded.layout import Layout, write_atomically
from mecapy_platform.embedded.tokens import TOKEN_SECONDS, Person, issue, load_key

ORGANIZATION = "demo"


@dataclass(frozen=True)
class Ready:
    """The content of the ready file."""

    url: str
    token: str
    organization: str
    data: str
    parts: Mapping[str, Sequence[int]]

    def write(self, path: Path) -> None:
        text = json.dumps(
            {**self.connection(), "data": self.data, "parts": {name: list(pids) for name, pids in self.parts.items()}},
            indent=1,
        )
        write_atomically(path, text + "\n")

    def connection(self) -> dict[str, str]:
        return {"url": self.url, "token": self.token, "organization": self.organization}


def token(layout: Layout, person: Person, seconds: int = TOKEN_SECONDS) -> str:
    """A token of this data directory's issuer.

    Needs its secrets alone, so it works while the platform runs and while it does not.
    """
    values = secrets.read(layout)
    if values is None or not values.url:
        raise ConfigurationError(
            "no_platform", f"{layout.root} holds no platform yet. Start one with: mecapy up --data {layout.root}"
        )
    return issue(load_key(layout.issuer_key), values.issuer, person, seconds)


def first_person() -> Person:
    """Whoever started us, as administrator of the first organization."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "engineer"
    return Person(re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "engineer", (ORGANIZATION,), ("admin",))
