"""Where a client's access token comes from, and how a new one is had when the platform refuses it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mecapy_platform.client.credentials import Credentials, CredentialsFile
from mecapy_platform.client.errors import LoginError
from mecapy_platform.client.oidc import Grant, discover, with_client_credentials, with_refresh_token

EARLY_SECONDS = 30.0


class TokenSource(Protocol):
    """Gives the token to send; `renew` is asked once after a 401 and says whether another try makes sense."""

    def token(self) -> str | None: ...

    def renew(self) -> bool: ...


@dataclass(frozen=True)
class StaticToken:
    """A token given by hand: MECAPY_TOKEN, --token. None stands for an anonymous caller."""

    value: str | None

    def token(self) -> str | None:
        return self.value

    def renew(self) -> bool:
        return False


class TokenFile:
    """The token in a file that `mecapy up` keeps below its data directory: JSON {url, token, ..}."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: str | None = None

    def token(self) -> str | None:
        self._last = read_connection(self._path)["token"]
        return self._last

    def renew(self) -> bool:
        before = self._last
        return self.token() != before


def read_connection(path: Path) -> dict[str, str]:
    """URL, token and organization of the embedded platform, as `mecapy up` left them in its data directory."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(data[name]) for name in ("url", "token", "organization")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = (
            f"Cannot read {path} ({type(error).__name__}). Is the platform up (mecapy up --data "
            f"{path.parent}), and is the directory yours?"
        )
        raise LoginError("connection_unreadable", message) from error


class StoredLogin:
    """What `mecapy login` stored for one platform; renews by refresh token and stores the new pair."""

    def __init__(self, file: CredentialsFile, credentials: Credentials) -> None:
        self._file = file
        self._credentials = credentials

    def token(self) -> str | None:
        expires_at = self._credentials.expires_at
        if expires_at is not None and expires_at - EARLY_SECONDS < time.time() and self._credentials.refresh_token:
            self.renew()
        return self._credentials.token

    def renew(self) -> bool:
        stored = self._file.load().get(self._credentials.url)
        if stored is not None and stored.token != self._credentials.token:  # another process was faster
            self._credentials = stored
            return True
        current = self._credentials
        if not (current.refresh_token and current.issuer and current.client_id):
            return False
        grant = with_refresh_token(discover(current.issuer), current.client_id, current.refresh_token)
        self._credentials = current.renewed(grant.access_token, grant.refresh_token, grant.expires_at)
        self._file.store(self._credentials)
        return True


class ClientCredentials:
    """A service account: MECAPY_ISSUER, MECAPY_CLIENT_ID, MECAPY_CLIENT_SECRET."""

    def __init__(self, issuer: str, client_id: str, client_secret: str) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._grant: Grant | None = None

    def token(self) -> str | None:
        grant = self._grant
        if grant is None or (grant.expires_at is not None and grant.expires_at - EARLY_SECONDS < time.time()):
            self.renew()
        return self._grant.access_token if self._grant else None

    def renew(self) -> bool:
        self._grant = with_client_credentials(discover(self._issuer), self._client_id, self._client_secret)
        return True
