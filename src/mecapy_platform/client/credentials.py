"""The file that remembers logins: one entry per platform, readable by its owner alone."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from platformdirs import user_config_path

from mecapy_platform.core.errors import ConfigurationError


@dataclass(frozen=True)
class Credentials:
    """How to talk to one platform. `token_file` names a file that holds the token; then `token` is None."""

    url: str
    token: str | None = None
    token_file: str | None = None
    refresh_token: str | None = None
    expires_at: float | None = None  # seconds since the epoch
    issuer: str | None = None
    client_id: str | None = None
    organization: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})

    def renewed(self, token: str, refresh_token: str | None, expires_at: float | None) -> "Credentials":
        return replace(self, token=token, refresh_token=refresh_token or self.refresh_token, expires_at=expires_at)


@dataclass(frozen=True)
class Logins:
    """All stored credentials; `current` is the address that commands use when none is named."""

    current: str | None = None
    platforms: tuple[Credentials, ...] = ()

    def get(self, url: str | None) -> Credentials | None:
        return next((item for item in self.platforms if item.url == url), None)


class CredentialsFile:
    """Reads and writes the file. The default path is the user's configuration directory, or MECAPY_CREDENTIALS."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def default(cls, environment: Mapping[str, str]) -> Self:
        named = environment.get("MECAPY_CREDENTIALS")
        return cls(Path(named) if named else user_config_path("mecapy", appauthor=False) / "credentials.json")

    def load(self) -> Logins:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            platforms = tuple(Credentials.from_json(item) for item in data["platforms"])
            return Logins(data.get("current"), platforms)
        except FileNotFoundError:
            return Logins()
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = (
                f"Cannot read the stored logins in {self.path}: {error}. Delete the file and log in again: mecapy login"
            )
            raise ConfigurationError("credentials_unreadable", message) from error

    def store(self, credentials: Credentials, *, is_current: bool = False) -> None:
        """Add or replace the entry of one platform."""
        logins = self.load()
        others = tuple(item for item in logins.platforms if item.url != credentials.url)
        current = credentials.url if is_current or logins.current is None else logins.current
        self._write(Logins(current, (*others, credentials)))

    def forget(self, url: str) -> bool:
        """Remove the entry of one platform; says whether there was one."""
        logins = self.load()
        others = tuple(item for item in logins.platforms if item.url != url)
        current = logins.current if logins.current != url else None
        self._write(Logins(current, others))
        return len(others) < len(logins.platforms)

    def _write(self, logins: Logins) -> None:
        text = json.dumps(
            {"current": logins.current, "platforms": [asdict(item) for item in logins.platforms]}, indent=1
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(prefix=".credentials-", dir=self.path.parent)  # 0600 from the start
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    stream.write(text)
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            message = (
                f"Cannot store the login in {self.path}: {error.strerror}. Name another file by MECAPY_CREDENTIALS."
            )
            raise ConfigurationError("credentials_unwritable", message) from error
